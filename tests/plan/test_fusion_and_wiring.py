"""Which roles share a process, what a service receives, what a lineup can't do, and how a plan is shown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tierline import (
    CDN,
    DNS,
    JWT,
    Bucket,
    Cache,
    Function,
    Gateway,
    HTTPCache,
    Journey,
    LoadBalancer,
    Mail,
    Queue,
    Relational,
    Service,
    Sessions,
    Stack,
    Stream,
    Table,
)
from tierline.lineups import choose
from tierline.plan.fusion import apart
from tierline.plan.model import Plan, Ref, Text
from tierline.plan.resolve import resolve
from tierline.plan.show import difference, picture, text


def planned(*services: Service, fusion: bool = True, uses: tuple[str, ...] = (), **more: Any) -> Plan:
    return resolve(Stack("shop", services=services, **more), choose("embedded", uses), fusion=fusion)


def units(plan: Plan) -> dict[str, list[str]]:
    return {unit.id: [role.id for role in unit.roles] for unit in plan.units}


def shown(found: Text) -> str:
    """A wired value with its references in angle brackets."""
    return "".join(
        part if isinstance(part, str) else f"<{part.role} {part.attribute}>" for part in found.parts
    )


A, B = Service("a", "a:app"), Service("b", "b:app")


def test_neighbours_in_a_zone_share_a_python_process() -> None:
    made = units(planned(A, B, journeys=[Journey("home", "/home")]))
    assert made["apps.a"] == ["experience.a", "a.a", "b.a"]
    assert made["apps.b"] == ["experience.b", "a.b", "b.b"]


def test_without_fusion_every_role_has_a_process_of_its_own() -> None:
    made = units(planned(A, B, fusion=False, zones=["a"], cdn=CDN(), cache=HTTPCache()))
    assert all(len(roles) == 1 for roles in made.values())
    assert {"a.a", "b.a"} <= set(made)
    assert units(planned(A, B, zones=["a"], fuse=False))["a.a"] == ["a.a"]


def test_who_does_not_want_to_share_does_not() -> None:
    loner = Service("loner", "l:app", fuse=False)
    command = Service("command", command=["serve"])
    made = units(planned(A, B, loner, command, zones=["a"]))
    assert made["apps.a"] == ["a.a", "b.a"]
    assert made["loner.a"] == ["loner.a"]
    assert made["command.a"] == ["command.a"]


def test_two_services_of_one_module_do_not_share_a_process() -> None:
    """A module is imported once per process: the second would run with the first one's environment."""
    made = units(planned(A, Service("again", "a:other"), B, zones=["a"]))
    assert made["apps.a"] == ["a.a", "b.a"]
    assert made["again.a"] == ["again.a"]


def test_edge_roles_of_one_engine_and_zone_share_a_process() -> None:
    made = units(planned(A, zones=["a"], cdn=CDN(assets="web"), cache=HTTPCache()))
    assert made["nginx.a"] == ["assets.a", "cache.a"]


def test_what_stands_on_both_sides_of_another_engine_is_two_processes() -> None:
    """One process in front of the cache and behind it would start before it and after it."""
    around = units(
        planned(A, gateway=Gateway(), lb=LoadBalancer(), cache=HTTPCache(), uses=("gateway=haproxy",))
    )
    assert {"lb.a", "cache.a", "gateway.a"} <= set(around)
    beside = units(planned(A, gateway=Gateway(), lb=LoadBalancer(), uses=("gateway=haproxy",)))
    assert beside["haproxy.a"] == ["lb.a", "gateway.a"]


def test_the_lineup_fast_has_one_envoy_around_the_cache() -> None:
    stack = Stack("shop", services=[A], zones=["a"], gateway=Gateway(), lb=LoadBalancer(), cache=HTTPCache())
    made = units(resolve(stack, choose("fast")))
    assert made["envoy.a"] == ["lb.a", "gateway.a"] and made["cache.a"] == ["cache.a"]
    assert {"lb.a", "cache.a", "gateway.a"} <= set(units(resolve(stack, choose("fast"), fusion=False)))


def test_databases_of_one_server_stay_together_even_without_fusion() -> None:
    one, two = Relational("one"), Relational("two", replicas=1)
    made = units(planned(Service("a", "a:app", uses=[one, two]), fusion=False))
    assert made["postgresql"] == ["one", "two.primary"]
    assert made["postgresql.replica-1"] == ["one.standby-1", "two.replica-1"], "all of it goes on there"


def test_fusion_changes_processes_and_nothing_else() -> None:
    stack = {"journeys": [Journey("home", "/home")], "cdn": CDN(assets="web"), "cache": HTTPCache()}
    together, apart = planned(A, B, **stack), planned(A, B, fusion=False, **stack)
    assert together.roles.keys() == apart.roles.keys()
    assert all(together.roles[id] == apart.roles[id] for id in together.roles)
    assert len(together.units) < len(apart.units)


def test_a_service_taken_out_of_a_running_line_stands_as_if_it_had_not_wanted_to_share() -> None:
    home = [Journey("home", "/home")]
    taken = apart(planned(A, B, journeys=home), "b")
    alone = planned(A, Service("b", "b:app", fuse=False), journeys=home)
    assert {id: set(roles) for id, roles in units(taken).items()} == {
        id: set(r) for id, r in units(alone).items()
    }
    # Two that are taken apart both keep their own names; who isn't fused stays as it is.
    assert units(apart(planned(A, B, zones=["a"]), "b"))["a.a"] == ["a.a"]
    assert apart(alone, "b") == alone and apart(alone, "nobody") == alone


def test_the_difference_that_fusion_makes_is_told() -> None:
    told = difference(planned(A, B, zones=["a"]), planned(A, B, zones=["a"], fusion=False)).splitlines()
    assert told[0] == "fused apps.a: a, b in 1 process instead of 2"
    assert told[-1].endswith("without (--no-fusion)")


# Wiring ------------------------------------------------------------------------------------------------------


def environment(*uses: Any, **more: Any) -> dict[str, str]:
    plan = planned(Service("a", "a:app", uses=uses), B, zones=["a"], **more)
    return {name: shown(value) for name, value in plan.roles["a.a"].environment.items()}


def test_every_service_knows_where_it_is_and_where_its_spans_go() -> None:
    assert environment() == {
        "AWS_REGION": "eu-west-1",
        "OTEL_SERVICE_NAME": "a",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://<telemetry otlp.address>",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "TIERLINE_ZONE": "a",
    }


@pytest.mark.parametrize(
    ("resource", "names"),
    [
        (Relational("x"), {"DATABASE_URL", "DATABASE_READ_URL", "X_DATABASE_URL", "X_DATABASE_READ_URL"}),
        (Table("x", key="id"), {"DATABASE_URL", "X_DATABASE_URL"}),
        (Cache("x"), {"REDIS_URL", "X_REDIS_URL"}),
        (Sessions("x"), {"REDIS_URL", "X_REDIS_URL"}),
        (Queue("x"), {"NATS_URL", "X_NATS_URL", "X_SUBJECT"}),
        (Stream("x"), {"NATS_URL", "X_NATS_URL", "X_SUBJECT"}),
        (
            Bucket("xyz"),
            {"AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "XYZ_BUCKET"},
        ),
        (Mail("x"), {"SMTP_URL", "X_SMTP_URL", "MAIL_FROM"}),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, set) else "",
)
def test_a_resource_comes_under_the_names_that_its_ecosystem_knows(resource: Any, names: set[str]) -> None:
    assert names <= set(environment(resource))


def test_of_two_resources_of_a_kind_the_first_has_the_plain_name() -> None:
    found = environment(Relational("goods"), Relational("film-posters"))
    assert found["DATABASE_URL"] == found["GOODS_DATABASE_URL"] != found["FILM_POSTERS_DATABASE_URL"]
    assert "/film_posters?" in found["FILM_POSTERS_DATABASE_URL"]


def test_reads_prefer_the_replica_and_writes_go_to_the_primary() -> None:
    found = environment(Relational("goods", replicas=1))
    assert found["DATABASE_URL"] == (
        "postgresql://goods:<goods.primary secret.goods.password>@<goods.primary postgresql.address>,"
        "<goods.replica-1 postgresql.address>/goods?target_session_attrs=read-write"
    )
    assert (
        "@<goods.replica-1 postgresql.address>,<goods.primary postgresql.address>/goods"
        in (found["DATABASE_READ_URL"])
    )


def test_a_service_that_uses_another_receives_its_url() -> None:
    assert environment(B)["B_URL"] == "http://<b.a http.address>"
    assert environment("b")["B_URL"] == "http://<b.a http.address>"


def test_who_signs_tokens_receives_the_key() -> None:
    tokens = JWT(issuer="shop", audience="customers", paths=["/orders"])
    found = environment(tokens, gateway=Gateway(auth=tokens))
    assert (found["JWT_ISSUER"], found["JWT_AUDIENCE"]) == ("shop", "customers")
    assert found["JWT_SIGNING_KEY_FILE"] == "<gateway signing_key>"
    assert "JWT_SIGNING_KEY_FILE" not in environment(gateway=Gateway(auth=tokens))


def test_the_users_own_variables_win() -> None:
    plan = planned(Service("a", "a:app", uses=[Cache("hot")], env={"REDIS_URL": "redis://mine"}), zones=["a"])
    assert shown(plan.roles["a.a"].environment["REDIS_URL"]) == "redis://mine"


def test_a_function_receives_what_it_uses_and_what_it_listens_to() -> None:
    work = Queue("work")
    plan = planned(A, functions=[Function("f", "f:handle", work, uses=[Relational("goods")])], zones=["a"])
    assert {"NATS_URL", "WORK_SUBJECT", "GOODS_DATABASE_URL"} <= set(plan.roles["f.a"].environment)
    assert set(plan.roles["f.a"].needs) == {"work", "goods"}


def test_no_secret_and_no_port_is_in_a_plan() -> None:
    import msgspec

    plan = planned(Service("a", "a:app", uses=[Relational("goods"), Cache("hot"), Bucket("pictures")]))
    refs = [
        part
        for role in plan.roles.values()
        for value in role.environment.values()
        for part in value.parts
        if isinstance(part, Ref)
    ]
    assert {ref.attribute.partition(".")[0] for ref in refs} >= {"secret", "postgresql"}
    assert b"127.0.0.1" not in msgspec.json.encode(plan)


# The parity report -------------------------------------------------------------------------------------------


def test_the_embedded_lineup_loses_the_trailers_of_requests_alone() -> None:
    tiers = {"dns": DNS("shop.test", health="/health"), "cdn": CDN(assets="web"), "gateway": Gateway()}
    (loss,) = planned(A, **tiers).losses
    assert (loss.tier, loss.system, loss.feature) == ("cdn", "nginx", "request_trailers")


def test_what_a_system_can_not_do_is_told_with_the_field_that_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tierline.tiers.base import system
    from tierline.tiers.cache.nginx import System as _  # noqa: F401  the contract's module must be there

    plays = system("cache", "nginx")
    monkeypatch.setattr(type(plays), "supports", frozenset(type(plays).supports - {"stale_if_error", "vary"}))
    monkeypatch.setattr(
        type(plays), "lacks", {"stale_if_error": "it forgets stale copies; use cache=varnish"}
    )
    losses = planned(A, cache=HTTPCache(stale_if_error="1m")).losses
    assert [(loss.tier, loss.system, loss.feature, loss.why) for loss in losses] == [
        ("cache", "nginx", "vary", f"HTTPCache(): {plays.title} doesn't do it"),
        ("cache", "nginx", "stale_if_error", "stale_if_error=: it forgets stale copies; use cache=varnish"),
    ]


# For people --------------------------------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "dns": DNS("shop.test"),
    "cdn": CDN(assets="web"),
    "cache": HTTPCache(),
    "gateway": Gateway(),
}


def test_the_tree_shows_places_fusion_addresses_and_counts() -> None:
    plan = planned(A, B, **WHOLE)
    lines = text(plan, {"gateway.a/http": "127.0.0.1:4711"}).splitlines()
    assert lines[0] == "shop  shop.test  eu-west-1 zones a, b"
    (gateway,) = [line for line in lines if line.startswith("  gateway.a ")]
    assert "envoy" in gateway
    assert "eu-west-1/a" in gateway
    assert "127.0.0.1:4711" in gateway
    assert "  in apps.a with 1 more" in next(line for line in lines if line.startswith("  a.a "))
    assert f"{len(plan.roles)} roles in {len(plan.units)} processes" in lines
    assert lines[-1] == "no losses" or lines[-1].startswith("note")


def test_the_picture_is_well_formed_and_shows_every_role_and_way() -> None:
    plan = planned(Service("a", "a:app", uses=[Relational("goods", replicas=1)]), B, **WHOLE)
    root = ET.fromstring(picture(plan))
    space = "{http://www.w3.org/2000/svg}"
    texts = {each.text for each in root.iter(f"{space}text")}
    assert set(plan.roles) <= texts
    assert len(root.findall(f"{space}rect")) == len(plan.roles)
    ways = sum(len(each) for role in plan.roles.values() for each in role.upstreams.values())
    needs = sum(len(role.needs) for role in plan.roles.values())
    assert len(root.findall(f"{space}path")) == ways + needs
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{space}rect"):
        assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width
        assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height
