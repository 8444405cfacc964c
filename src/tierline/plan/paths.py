"""Which paths a line takes, decided once and for all tiers: what a policy matched is what the service gets.

A path can be written in several ways, and servers differ in which of them they take for the same (RFC 3986, 6.2; Java
cuts `;…` off a segment, IIS takes `\\` for `/`, some decode twice). So the first tier of the line and the gateway refuse
with 400 what has another reading, and nobody changes a path:

    always     segments that are `.` or `..` however written; control characters; `\\`, `#` and what isn't ASCII unless
               encoded; encodings that are none, or of UTF-8 longer than needed (RFC 3629, 3)
    "safe"     also `//`, `;`, encoded `/` and `\\`, an encoded letter, digit or one of `-._~`, and an encoding of an encoding

With `Gateway(paths="as_sent")` the others go on as they are, for keys and names with an encoded slash, and patterns of
policies match a path in each of its readings. Case counts, and so does a dot at the end of a segment.
"""

from __future__ import annotations

import re

from tierline.plan.model import Plan

FEATURE = "paths_as_sent"
_HEX = "[0-9A-Fa-f]"
_SLASH = r"(/|\\|%(25)*(2[Ff]|5[Cc]))"
_PARAMETERS = "((;|%(25)*3[Bb])[^/]*)"
_DOT = r"([.]|%(25)*2[Ee])"
_ALWAYS = (
    r"[^!-~]|[\\#]",
    f"%($|[^0-9A-Fa-f]|{_HEX}$|{_HEX}[^0-9A-Fa-f])",
    f"%(25)*([01]{_HEX}|7[Ff])",
    "%(25)*([Cc][01]|[Ee]0%(25)*[89]|[Ff]0%(25)*8)",
    f"{_SLASH}{_DOT}{{1,2}}({_SLASH}|;|%(25)*3[Bb]|$)",
)
_SAFE = (
    "//|;",
    "%(2[FfDdEe]|5[CcFf]|7[Ee]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])",
    f"%25{_HEX}{_HEX}",
)


def refused(plan: Plan) -> str:
    """A regular expression that finds something in a path (without its query) that this line refuses, in the syntax that
    PCRE, POSIX and RE2 share, without quotes of any kind."""
    return "|".join(_ALWAYS if as_sent(plan) else (*_ALWAYS, *_SAFE))


PLAIN = "(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?"
"""What most paths are: nothing of it is ever refused, and this is found out sooner, in the same syntax."""


def as_sent(plan: Plan) -> bool:
    """Whether the line's gateway passes other spellings on."""
    from tierline.tiers.base import system

    gateways = [role for role in plan.roles.values() if role.slot == "gateway"]
    return any(
        role.settings.get("paths") == "as_sent" and FEATURE in system(role.slot, role.system).supports
        for role in gateways
    )


def guarded(plan: Plan) -> tuple[tuple[str, str], ...]:
    """With paths as they are sent: what rules of the CDN judge by, as patterns of a path as it is written, and of all its
    spellings. A place refuses the others, as its rules go by the path as it is written."""
    if not as_sent(plan):
        return ()
    judged = {
        rule["path"].rstrip("/")
        for role in plan.roles.values()
        if role.slot == "cdn"
        for rule in role.settings.get("rules", ())
        if rule.get("signed") or rule.get("sites") or rule.get("networks")
    }
    return tuple(
        (re.escape(path).replace("\\-", "-") + "(/.*)?", below(path)) for path in sorted(judged) if path
    )


def tolerant(path: str) -> str:
    """A pattern of a path, without an end, that is met by every spelling of it."""
    # Segments that are empty but for their parameters count as none.
    found, slashes = "", f"{_SLASH}({_PARAMETERS}?{_SLASH})*"
    for segment in path.split("/")[1:]:
        letters = "".join(_letter(letter) for letter in segment)
        found += f"{_PARAMETERS}?{slashes}{letters}" if found else f"{slashes}{letters}"
    return found


def below(path: str) -> str:
    """A pattern of the whole path for `path` and all below it, in every spelling."""
    return f"{tolerant(path)}((;|%(25)*3[Bb]|{_SLASH}).*)?"


def _letter(letter: str) -> str:
    encoded = "".join(
        f"%(25)*{''.join(f'[{d.upper()}{d}]' if d.isalpha() else d for d in f'{byte:02x}')}"
        for byte in letter.encode()
    )
    return f"({re.escape(letter)}|{encoded})".replace("\\-", "-")
