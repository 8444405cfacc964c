"""The local OpenID provider: tierline's own, because no wheel has one that starts in a moment."""

from tierline.engines.identity.engine import ENGINE

__all__ = ["ENGINE"]
