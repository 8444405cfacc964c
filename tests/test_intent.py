"""An intent checks what it is given, and a mistake is one message that says everything needed to mend it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tierline import (
    CDN,
    DNS,
    JWT,
    Affiliate,
    Cache,
    Function,
    Gateway,
    HTTPCache,
    Latency,
    LoadBalancer,
    Queue,
    RateLimit,
    Relational,
    Scale,
    Service,
    Sessions,
    Table,
    Web,
    Weighted,
)
from tierline.errors import StackError
from tierline.intent import duration, size


def mistake(build: Any, *given: Any, **named: Any) -> str:
    with pytest.raises(StackError) as caught:
        build(*given, **named)
    return str(caught.value)


def test_a_mistake_names_object_field_given_and_allowed_and_the_line() -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    message = mistake(lambda: Relational("films", replicas=9))
    assert message == f"Relational('films'): replicas=9 is not allowed: at most 5\n  at {__file__}:{line}"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Relational("films", replica=1), "has no field 'replica', did you mean 'replicas'?"),
        (lambda: Relational("films", replica=1), "allowed: name, schema, load, replicas"),
        (lambda: Service("x", app="x:app", sclae=Scale()), "did you mean 'scale'?"),
        (lambda: Relational(), "needs name: The resource's name"),
        (lambda: Cache("a", "1MiB", 3), "takes at most 2 values by position, 3 were given"),
        (lambda: Cache("a", name="b"), "name is given twice"),
        (lambda: Cache("Über"), "lower-case letters, digits and '-'"),
        (lambda: Cache("a" * 41), "at most 40"),
        (lambda: Cache(7), "name=7 is not allowed"),
        (lambda: Cache("hot", memory="64 potatoes"), 'a size such as "64MiB" or "1GB"'),
        (lambda: Sessions("s", ttl="soon"), 'a duration such as "250ms", "30s", "5m", "7d"'),
        (lambda: Sessions("s", ttl=-1), "a duration"),
        (lambda: Sessions("s", ttl=True), "a duration"),
        (lambda: Relational("films", replicas="2"), "replicas='2' is not allowed: a whole number"),
        (lambda: Relational("films", replicas=True), "a whole number"),
        (lambda: Relational("films", replicas=-1), "at least 0"),
        (lambda: Relational("films", schema=3), "a string or None"),
        (lambda: Relational("films", load="python load.py"), "a list of a string"),
        (lambda: Scale(3, 2), "max=2 is not allowed: at least min=3"),
        (lambda: Scale(cpu=1.5), "at most 1"),
        (lambda: Service("x"), "exactly one of app='module:app' and command=[…]"),
        (lambda: Service("x", "x:app", command=["run"]), "exactly one of"),
        (lambda: Service("x", "x.app"), "'module:attribute', e.g. 'cinema.catalog:app'"),
        (
            lambda: Service("x", "x:app", expose=["films"]),
            "expose='films' is not allowed: paths that begin with /",
        ),
        (lambda: Service("x", "x:app", interface="agi"), "'asgi' or 'wsgi'"),
        (lambda: Service("x", "x:app", scale=3), "scale=3 is not allowed: Scale"),
        (lambda: Service("x", "x:app", env={"A": 1}), "a string"),
        (lambda: Service("x", "x:app", env=["A"]), "a dict"),
        (lambda: Service("x", "x:app", uses=[3]), "resources, services, or a service's name"),
        (lambda: Function("f", "f", on=Queue("q")), "'module:function'"),
        (lambda: Function("f", "f:f", on=Cache("c")), "a Queue, Topic or Stream"),
        (lambda: Table("t"), "needs key: The partition key's attribute."),
        (lambda: LoadBalancer(balance="least_requests"), "did you mean 'least_request'?"),
        (
            lambda: LoadBalancer(balance="least_requests"),
            "one of 'round_robin', 'least_request', 'consistent_hash'",
        ),
        (lambda: DNS("cinema"), "a lower-case domain such as cinema.test"),
        (lambda: DNS("cinema.test", route="latency"), "Latency"),
        (lambda: DNS("cinema.test", route=Cache), "Latency"),
        (lambda: Weighted({"a": "much"}), "a number"),
        (lambda: Gateway(auth=Cache("c")), "JWT"),
        (lambda: RateLimit(0), "at least 1"),
        (lambda: JWT(issuer="i", audience="a", paths=["x"]), "paths that begin with /"),
        (lambda: HTTPCache(disk=-1), "a size"),
    ],
)
def test_a_mistake_says_what_is_allowed(build: Any, said: str) -> None:
    message = mistake(build)
    assert said in message
    assert f"  at {__file__}:" in message


def test_a_set_has_no_order_so_it_is_no_list() -> None:
    assert "a list" in mistake(lambda: CDN(places={"eu-west-1", "us-east-1"}))


def test_a_message_about_another_field_still_says_whose_it_is() -> None:
    assert mistake(lambda: Service("catalog", app="x")).startswith("Service('catalog'): app='x'")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("250ms", 0.25),
        ("7d", 604800),
        ("1.5h", 5400),
        (3, 3),
        (0.5, 0.5),
        ("2 m", 120),
        (0.00001, 1e-5),
    ],
)
def test_durations_are_seconds(written: Any, seconds: float) -> None:
    assert duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "bytes_"), [("64MiB", 64 << 20), ("1GB", 10**9), (4096, 4096), ("2kb", 2000)]
)
def test_sizes_are_bytes(written: Any, bytes_: int) -> None:
    assert size(written) == bytes_


@pytest.mark.parametrize(
    "written", ["", "s", "-3s", "1e9s", "inf", float("inf"), float("nan"), None, [], b"3s"]
)
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match="a duration"):
        duration(written)


def test_an_intent_is_fixed_once_built() -> None:
    scale = Scale(1, 4)
    with pytest.raises(AttributeError, match=r"Scale is fixed once built; build another with min=…"):
        scale.min = 2  # type: ignore[misc]


def test_equal_fields_make_equal_intents() -> None:
    assert Scale(1, 4) == Scale(max=4)
    assert Scale(1, 4) != Scale(1, 5)
    assert Web() != Affiliate()
    assert len({Cache("a"), Cache("a")}) == 1


def test_a_class_stands_for_its_defaults() -> None:
    assert DNS("cinema.test", route=Latency) == DNS("cinema.test", route=Latency())


def test_an_intent_shows_what_was_said() -> None:
    assert repr(Relational("films", replicas=1)) == "Relational(name='films', replicas=1)"


def test_defaults_are_not_shared_between_intents() -> None:
    first, second = Service("a", "a:app"), Service("b", "b:app")
    first.env["X"] = "1"
    assert second.env == {}


def test_data_is_what_json_can_hold() -> None:
    import json

    told = Service("x", "x:app", uses=[Cache("hot")], scale=Scale(2, 3)).data()
    assert json.loads(json.dumps(told)) == told
    assert {"kind": "Scale", "min": 2, "max": 3, "rps": None, "cooldown": 30.0}.items() <= told[
        "scale"
    ].items()
