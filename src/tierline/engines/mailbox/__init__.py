"""A local SMTP inbox: takes every mail, sends none on, and shows what came."""

from tierline.engines.mailbox.engine import ENGINE

__all__ = ["ENGINE"]
