"""Which streams and consumers a role becomes.

| role | stream | subjects | kept |
|---|---|---|---|
| queue | `<name>` with the durable pull consumer `<name>` | `<name>` | until acknowledged |
| | `<name>-dead` | the dead letters of its function, or the server's notes of given-up messages | 14 days |
| topic | `<name>` | `<name>`, `<name>.>` | until every durable consumer has it |
| bus | `<name>` | `<name>`, `<name>.>` | `retention`, by default 1 day |
| stream | `<name>` | `<name>`, `<name>.<key>` | `retention`, by default 7 days |

Each function that reads a topic, bus or stream has a durable consumer `<name>-<function>` of its own, made before any
service starts, and `<name>-<function>-dead` for what has failed in all attempts: its worker puts the whole message
there. So it does for a queue. A message that another consumer of a queue gives up (after `dead_letter_after`
deliveries) stays in the queue's stream, where it is delivered no more; the note in `<name>-dead` has its `stream_seq`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tierline.engines.nats.consumers import durable
from tierline.errors import EngineError
from tierline.plan.model import Role

_DAY = 86400.0
FUNCTION = "tierline.function"
"""The key under which a consumer says whose it is."""
_WAIT = 30.0
"""Seconds without a word from a worker until its messages are another's."""
_GIVEN_UP = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"


def layout(role: Role, functions: Sequence[Role] = ()) -> list[dict[str, Any]]:
    """Streams as data: times in seconds, `consumers` beside the stream's own fields.

    functions: those that handle its messages.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", role.name):
        raise EngineError(f"{role.name}: a name on NATS is letters, digits, - and _")
    kind = role.slot.partition(".")[2]
    if kind not in _KINDS:
        raise EngineError(f"{role.name}: nats can't play {role.slot!r}")
    first, *more = _KINDS[kind](role.name, role.settings)
    for function in functions:
        if kind == "queue":
            # The worker counts: the last attempt may have ended its process, and still the message is set aside.
            first["consumers"][0]["max_deliver"] = -1
        else:
            reader = durable(role.name, kind, function.name)
            first["consumers"].append(
                {
                    "durable_name": reader,
                    "ack_wait": _WAIT,
                    "max_deliver": -1,
                    "metadata": {FUNCTION: function.name},
                }
            )
            more.append(_stream(f"{reader}-dead", [f"{reader}-dead"], "limits", 14 * _DAY))
    return [first, *more]


def _queue(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    consumer = {
        "durable_name": name,
        "ack_wait": float(_or(settings, "visibility", 30.0)),
        "max_deliver": int(_or(settings, "dead_letter_after", 5)),
        "max_ack_pending": 10_000,
    }
    queue = _stream(name, [name], "workqueue", _or(settings, "retention", 0.0))
    queue["consumers"] = [consumer]
    dead = _stream(f"{name}-dead", [f"{name}-dead", f"{_GIVEN_UP}.{name}.{name}"], "limits", 14 * _DAY)
    return [queue, dead]


def _topic(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [_stream(name, [name, f"{name}.>"], "interest", _or(settings, "retention", 0.0))]


def _bus(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [_stream(name, [name, f"{name}.>"], "limits", _or(settings, "retention", _DAY))]


def _log(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [_stream(name, [name, f"{name}.>"], "limits", _or(settings, "retention", 7 * _DAY))]


def _stream(name: str, subjects: list[str], retention: str, age: float) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "retention": retention,
        "max_age": float(age),
        "duplicate_window": min(120.0, age) if age else 120.0,
        "allow_direct": True,
        "consumers": [],
    }


def _or(settings: dict[str, Any], key: str, default: float) -> float:
    given = settings.get(key)
    return default if given is None else float(given)


_KINDS = {"queue": _queue, "topic": _topic, "bus": _bus, "stream": _log}
