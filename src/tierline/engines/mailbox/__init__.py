"""A local SMTP inbox: takes every mail, sends none on, and shows what came: as a page, as JSON, over POP3."""

from tierline.engines.mailbox.engine import ENGINE

__all__ = ["ENGINE"]
