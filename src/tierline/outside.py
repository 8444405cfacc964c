"""What a stack names besides its own tiers: services outside, and passages to services."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.stack import Stack


def check(stack: Stack, names: set[str]) -> None:
    """Raises StackError for an outside service without a name of its own, or a passage that leads nowhere."""
    for each in stack.outside:
        if not hasattr(each, "set_addresses") or each.name in ("", "service"):
            allowed = 'HTTP objects with a name: HTTP("https://api.example.com", name="payments")'
            raise stack.wrong("outside", each, allowed)
        if each.name in names:
            raise stack.wrong("outside", each.name, "a name that no service or resource of the stack has")
        names = {*names, each.name}
    there = {service.name for service in stack.services} | {each.name for each in stack.outside}
    for passage in stack.passages:
        if not hasattr(passage, "takes") or passage.to not in there or not stack.journeys:
            known = ", ".join(sorted(there)) or "a service"
            raise stack.wrong(
                "passages",
                passage,
                f"tierline.journeys.Passage objects to {known}, beside at least one journey",
            )
