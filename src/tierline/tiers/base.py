"""The contract of a system: something that can play a tier. One file each, `tiers/<tier>/<system>.py`.

A provider file defines one class named `System` below; everything the stages need is asked of it, and no
stage ever looks at its name.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tierline.engines.context import Context
from tierline.errors import PlanError, choices, nearest
from tierline.lineups import PLANNED
from tierline.plan.model import TIERS, Budget, Role, Text

if TYPE_CHECKING:
    from tierline.engines.base import Step
    from tierline.tiers.cache.tier import Purge

Level = Literal["runs", "deploys", "renders"]
Protocol = Literal["http", "https", "dns", "postgresql", "redis", "nats", "smtp", "s3", "tcp"]


class System:
    """Base of the providers. A provider overrides what it does; what it leaves out it doesn't do."""

    title: ClassVar[str] = ""
    """The system's own name, as its makers write it."""
    engine: ClassVar[str] = ""
    """The engine that plays it locally: `engines/<engine>/`. Empty when it only deploys."""
    levels: ClassVar[frozenset[Level]] = frozenset()
    """What the tests have established."""
    supports: ClassVar[frozenset[str]] = frozenset()
    """Features of the tier that it does, by the names of `<tier>/tier.py`."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Why it lacks a feature and what to use instead, for the parity report."""
    endpoints: ClassVar[Mapping[str, Protocol]] = {}
    """What a role of it listens on, by name."""
    stand_in: ClassVar[str] = ""
    """The local system that plays its part under `up`, when it can't run here."""
    origin: ClassVar[str] = ""
    """For a CDN that serves no files itself: the system of its tier that plays the assets origin."""
    counter: ClassVar[str] = ""
    """The slot of the service that counts for all its roles together; where the lineup has none, each counts alone."""
    group: ClassVar[str] = ""
    """Roles of one engine and place share a process only within a group; empty: with their neighbours."""
    servers: ClassVar[Mapping[str, str]] = {}
    """Of a group: slots whose roles have a server of their own, and what its name ends with."""

    measures: ClassVar[bool] = False
    """Its hops say who answered, and in what time: so that commands, whose requests nobody else counts, can scale."""

    counts_bodies: ClassVar[bool] = False
    """Whether it bounds a body that doesn't say how long it is while it passes on, in the words of the limit's owner: an
    engine behind it that can't count needn't refuse such a body."""

    around: ClassVar[bool] = False
    """Whether its role shares a process with a role of its engine beyond another engine's: it starts before what it
    sends requests to, and uses that as soon as it listens."""
    listens_for_places: ClassVar[bool] = False
    """Whether it takes requests of the line's own CDN at an endpoint of their own, `places`: for engines that decide
    by listener, and not by request, whom they believe about the client (engines/forwarded.py)."""

    def listens(self, settings: Mapping[str, Any]) -> Mapping[str, Protocol]:
        """What a role with these settings listens on, by name."""
        return self.endpoints

    def believes_line(self, settings: Mapping[str, Any]) -> bool:
        """Whether a role with these settings knows the line's secret, by which it believes what the tier in front says
        of the client, and keeps it to itself (engines/forwarded.py)."""
        return False

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        """Limits and time-outs that it can't hold as `held` (plan/budgets.py) says for this role: the setting, and what
        happens instead. They become losses of the plan."""
        return {}

    def contribute(self, role: Role, context: Context) -> Any:
        """This role's fragment of its engine's configuration."""
        raise NotImplementedError(f"{type(self).__module__} contributes nothing to an engine")

    def purge(self, role: Role, context: Context, order: Purge) -> None:
        """Copies that the order names are not served by this role from now on. How many that were is known to no engine.

        Raises RunError when the engine doesn't take the order.
        """
        raise NotImplementedError(f"{type(self).__module__} keeps no copies that could be purged")

    def warm(self, role: Role, context: Context) -> Step | None:
        """A command that reads what this role keeps into its memory and prints what it did; None: no such thing."""
        return None

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        """Environment variables, under their ecosystem's names, for who uses a resource with these roles."""
        return {}

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        """Variables that only make sense with the resource's name before them, e.g. `BUCKET`."""
        return {}

    def deploy(self, roles: Sequence[Role], template: Any) -> None:
        """Add the CloudFormation resources of these roles (one name, all places) to the template."""
        raise PlanError(f"{self.title} has no CloudFormation; choose a system that deploys")


_TIERS = Path(__file__).parent
_loaded: dict[tuple[str, str], System] = {}


def tier_of(slot: str) -> str:
    """The tier's folder of a slot: `domain.relational` → `domain`."""
    return slot.partition(".")[0]


def available(tier: str) -> list[str]:
    """Names of the systems of a tier that have a provider."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules([str(_TIERS / tier)])
        if not module.ispkg and module.name != "tier"
    )


def system(slot: str, name: str) -> System:
    """The provider at `tiers/<tier>/<name>.py`. Raises PlanError when there is none."""
    tier = tier_of(slot)
    found = _loaded.get((tier, name))
    if found is None:
        if name not in available(tier):
            if name in PLANNED.get(slot, ()):
                raise PlanError(
                    f"{slot}={name} is in the table of systems but isn't built yet; {_works(slot)}"
                )
            raise PlanError(
                f"unknown system {name!r} for {slot}{nearest(name, available(tier))} {_works(slot)}"
            )
        module = importlib.import_module(f"tierline.tiers.{tier}.{name}")
        classes = [
            each
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, System) and each.__module__ == module.__name__
        ]
        found = _loaded[(tier, name)] = classes[-1]()
    return found


def _works(slot: str) -> str:
    return f"{slot} can be: {choices(available(tier_of(slot)))}"


def every() -> Iterator[tuple[str, str, System | None]]:
    """(tier, name, provider) of every system in the table; None while it has no provider."""
    for tier in TIERS:
        names = available(tier)
        for name in names:
            yield tier, name, system(tier, name)
        planned = {name for slot, rows in PLANNED.items() if tier_of(slot) == tier for name in rows}
        for name in sorted(planned - set(names)):
            yield tier, name, None
