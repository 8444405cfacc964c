"""Routing: which targets a client is given. Policies nest; a name of a place is where they end.

A policy looks only at what is healthy. When nothing that it could answer with is healthy, everything counts
as healthy: an answer that may be wrong is better than none (as Route 53 does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from tierline.engines.answers.clients import Group
from tierline.engines.answers.config import (
    Failover,
    Geography,
    Latency,
    Multivalue,
    Node,
    Place,
    Simple,
    Target,
    Weighted,
)


class Choice:
    """What was chosen, and why."""

    __slots__ = ("open", "path", "places", "random", "targets")

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.places: list[str] = []
        self.path: list[str] = []
        """The policies on the way, outermost first."""
        self.random = False
        """Whether the same client may be given something else the next time."""
        self.open = False
        """Whether nothing was healthy."""

    @property
    def verdict(self) -> str:
        """`latency → eu-west-1`."""
        return " → ".join([*self.path, ", ".join(self.places) or "nothing"]) + (
            " (all down)" if self.open else ""
        )


def children(node: Node) -> list[Node]:
    """What a policy chooses from; nothing for a place."""
    if isinstance(node, str):
        return []
    if isinstance(node, Weighted):
        return [share.to for share in node.to]
    if isinstance(node, Geography):
        return [
            *node.country.values(),
            *node.continent.values(),
            *([] if node.default is None else [node.default]),
        ]
    return node.to


def places_of(node: Node) -> Iterator[str]:
    """The places in a policy, in order."""
    if isinstance(node, str):
        yield node
    for child in children(node):
        yield from places_of(child)


def looks_at_client(node: Node) -> bool:
    """Whether two clients may be answered differently: only then an answer has a scope (RFC 7871)."""
    return isinstance(node, Latency | Geography) or any(looks_at_client(child) for child in children(node))


class Router:
    """Chooses. `healthy` tells of a place's target by their names; `latency` is the table of the config."""

    def __init__(
        self,
        places: dict[str, Place],
        latency: dict[str, dict[str, float]],
        healthy: Callable[[str, str], bool],
    ) -> None:
        self._places = places
        self._latency = latency
        self._healthy = healthy
        self._random = Random()  # noqa: S311  spreading load, no secret
        self._all = False

    def choose(self, node: Node, client: Group) -> Choice:
        choice = Choice()
        self._all = False
        choice.open = self._all = not self._up(node, client)
        self._pick(node, client, choice)
        choice.open &= bool(choice.targets)
        return choice

    def _up(self, node: Node, client: Group) -> bool:
        """Whether the node has something for this client that is healthy, or counts as such."""
        if isinstance(node, str):
            return self._all or any(self._healthy(node, target.name) for target in self._places[node].targets)
        below = self._near(node, client) if isinstance(node, Geography) else children(node)
        return any(self._up(child, client) for child in below)

    def _pick(self, node: Node, client: Group, choice: Choice) -> None:
        if isinstance(node, str):
            choice.places.append(node)
            choice.targets += [
                target
                for target in self._places[node].targets
                if self._all or self._healthy(node, target.name)
            ]
            return
        kind = type(node).__name__.lower()
        if kind not in choice.path:
            choice.path.append(kind)
        before = len(choice.targets)
        for child in self._select(node, client, choice):
            self._pick(child, client, choice)
        if isinstance(node, Multivalue):
            found = sorted(choice.targets[before:], key=lambda _: self._random.random())
            choice.targets[before:] = found[: node.limit]

    def _select(self, node: Node, client: Group, choice: Choice) -> list[Node]:
        below = self._near(node, client) if isinstance(node, Geography) else children(node)
        up = [child for child in below if self._up(child, client)]
        if isinstance(node, Simple):
            return up[: node.limit or None]
        if isinstance(node, Multivalue):
            choice.random = True
            return up
        if isinstance(node, Weighted):
            choice.random = True
            return self._by_weight(node, client)
        if isinstance(node, Latency):
            return [min(up, key=lambda child: self._distance(child, client))] if up else []
        assert isinstance(node, Failover | Geography)
        return up[:1]

    def _near(self, node: Geography, client: Group) -> list[Node]:
        """Country, continent, default, as far as they are given for this client."""
        found = (node.country.get(client.country), node.continent.get(client.continent), node.default)
        return [child for child in found if child is not None]

    def _by_weight(self, node: Weighted, client: Group) -> list[Node]:
        up = [share for share in node.to if self._up(share.to, client)]
        up = [share for share in up if share.weight] or up
        if not up:
            return []
        total = sum(share.weight for share in up)
        at = self._random.random() * (total or len(up))
        for share in up:
            at -= share.weight if total else 1.0
            if at < 0:
                break
        return [share.to]

    def _distance(self, node: Node, client: Group) -> float:
        table = self._latency.get(client.region, {})
        regions = {self._places[place].region for place in places_of(node) if self._up(place, client)}
        return min(table.get(region, 0.0 if region == client.region else 1e9) for region in regions)
