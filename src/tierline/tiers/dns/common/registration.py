"""What registering the stack's domain would take. Nothing here registers anything: that costs money and names its
owner, so it stays a plan that a person carries out.

CloudFormation has no resource for it; the plan is a request for Route 53 Domains' RegisterDomain and the commands
around it. Who the owner is stands in a file of its own, not in the stack file: it is personal data.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from tierline.errors import StackError
from tierline.intent import Intent, setting

RESERVED = {
    "test": "RFC 6761", "example": "RFC 6761", "invalid": "RFC 6761", "localhost": "RFC 6761",
    "local": "RFC 6762", "onion": "RFC 7686", "home.arpa": "RFC 8375", "alt": "RFC 9476",
    "internal": "ICANN, 2024", "example.com": "RFC 2606", "example.net": "RFC 2606", "example.org": "RFC 2606",
}  # fmt: skip
"""Names that nobody can register, with who says so."""

_PHONE = re.compile(r"\+\d{1,3}\.\d{4,14}")


class Registration(Intent):
    """How the domain would be registered; `tierline domain` shows the plan, and registers nothing."""

    contact: str = setting(
        "A JSON file with the owner, as Route 53 Domains' ContactDetail; keep it out of git."
    )
    years: int = setting("For how long at first.", default=1, above=1, below=10)
    auto_renew: bool = setting("Renewed every year until somebody stops it.", default=True)
    privacy: bool = setting("The owner's contact is not published (WHOIS, RDAP).", default=True)
    price: float | None = setting(
        "Price of a year in US dollars, from the registrar's list; the plan then shows what it would cost.",
        default=None,
        above=0,
    )


class Contact(msgspec.Struct, frozen=True, rename="pascal", kw_only=True, forbid_unknown_fields=True):
    """The owner: fields and forms of Route 53 Domains' ContactDetail."""

    first_name: str
    last_name: str
    contact_type: str
    address_line_1: str = msgspec.field(name="AddressLine1")
    address_line_2: str = msgspec.field(default="", name="AddressLine2")
    organization_name: str = ""
    city: str
    state: str = ""
    country_code: str
    zip_code: str
    phone_number: str
    email: str
    extra_params: list[dict[str, str]] = []

    def problem(self) -> str:
        """The first field that the registrar would refuse, and why."""
        kinds = ("PERSON", "COMPANY", "ASSOCIATION", "PUBLIC_BODY", "RESELLER")
        if self.contact_type not in kinds:
            return f"ContactType is {self.contact_type!r}, allowed: {', '.join(kinds)}"
        if self.contact_type != "PERSON" and not self.organization_name:
            return f"OrganizationName is missing, which {self.contact_type} needs"
        if not (len(self.country_code) == 2 and self.country_code.isalpha() and self.country_code.isupper()):
            return f"CountryCode is {self.country_code!r}, allowed: two capital letters (ISO 3166-1)"
        if not _PHONE.fullmatch(self.phone_number):
            return "PhoneNumber must be like +49.3012345678"
        return "" if "@" in self.email else "Email has no @"


class Registering(msgspec.Struct, frozen=True):
    """The plan."""

    domain: str
    possible: bool
    why: str
    """Why not, when it is not possible."""
    years: int
    auto_renew: bool
    privacy: bool
    cost: float | None
    """US dollars for the first period; None: the stack doesn't say the price."""
    owner: str
    steps: tuple[str, ...]
    """Commands and acts in order; the one that costs money is marked."""
    request: dict[str, Any]
    """The input of RegisterDomain. It holds personal data."""


def reserved(domain: str) -> str:
    """Why a name can't be registered by anybody; empty when nothing stands against it."""
    for name, source in RESERVED.items():
        if domain == name or domain.endswith(f".{name}"):
            return f"{name} is reserved ({source}): it works on this machine only; choose a domain that can be registered"
    return ""


def registering(domain: str, settings: dict[str, Any], project: Path) -> Registering:
    """The plan for a domain. settings: Registration's fields; project: what its `contact` is relative to.

    Raises StackError when the contact's file is missing or wrong.
    """
    contact = _contact(project / settings["contact"], settings["contact"])
    person = msgspec.to_builtins(contact)
    person = {name: value for name, value in person.items() if value}
    price = settings["price"]
    roles = ("Admin", "Registrant", "Tech")
    request = {
        "DomainName": domain,
        "DurationInYears": settings["years"],
        "AutoRenew": settings["auto_renew"],
        **{f"{role}Contact": person for role in roles},
        **{f"PrivacyProtect{role}Contact": settings["privacy"] for role in roles},
    }
    top = domain.rpartition(".")[2]
    domains = "aws route53domains --region us-east-1"  # the service's only region
    steps = (
        f"{domains} check-domain-availability --domain-name {domain}",
        f"{domains} list-prices --tld {top}",
        f"tierline domain --request register.json, then {domains} register-domain --cli-input-json "
        "file://register.json  (this costs money)",
        "answer the mail to the owner's address within 15 days, or the domain is suspended",
        f"{domains} update-domain-nameservers --domain-name {domain} --nameservers Name=…  (the output NameServers "
        "of the names stack: the registrar makes a hosted zone of its own, which isn't the line's)",
        "delete the registrar's hosted zone, which costs a little every month",
    )
    why = reserved(domain)
    return Registering(
        domain=domain,
        possible=not why,
        why=why,
        years=settings["years"],
        auto_renew=settings["auto_renew"],
        privacy=settings["privacy"],
        cost=None if price is None else price * settings["years"],
        owner=f"{contact.organization_name or contact.first_name[:1] + '. ' + contact.last_name}, {contact.country_code}",
        steps=steps,
        request=request,
    )


def _contact(path: Path, given: str) -> Contact:
    fix = "write one with Route 53 Domains' ContactDetail: FirstName, LastName, ContactType, …"
    try:
        contact = msgspec.json.decode(path.read_bytes(), type=Contact)
    except FileNotFoundError:
        raise StackError(f"Registration(contact={given!r}): there is no such file; {fix}") from None
    except (msgspec.DecodeError, OSError) as wrong:
        raise StackError(f"Registration(contact={given!r}): {wrong}; {fix}") from None
    if problem := contact.problem():
        raise StackError(f"Registration(contact={given!r}): {problem}")
    return contact
