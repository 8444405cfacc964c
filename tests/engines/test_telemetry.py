"""Hops from files and from OTLP land once each, whatever happens in between."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tierline.engines.telemetry import events as happenings
from tierline.engines.telemetry import keeping, metrics, otlp
from tierline.engines.telemetry import reader as reading
from tierline.engines.telemetry.__main__ import Telemetry
from tierline.engines.telemetry.funnel import funnels
from tierline.engines.telemetry.reader import Reader
from tierline.trips.hop import Hop
from tierline.trips.record import Recorder


def line(trace: int = 1, flags: str = "01", status: int = 200, **more: Any) -> str:
    told = {
        "f": flags,
        "s": status,
        "t": f"{trace:032x}",
        "i": f"{trace:016x}",
        "T": "cdn",
        "y": "nginx",
        "z": "a",
        **more,
    }
    return json.dumps(told) + "\n"


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "hops").mkdir()
    return {
        "hops": str(tmp_path / "hops"), "database": str(tmp_path / "hops.duckdb"), "token": "secret",
        "host": "127.0.0.1", "port": 4318,
        "retention": {"hops": 3600.0, "counts": 86400.0, "events": 86400.0}, "key": "k", "state": str(tmp_path),
    }  # fmt: skip


def poll(telemetry: Telemetry) -> None:
    for hop in telemetry._reader.poll():
        telemetry._keep(hop)


def requests(telemetry: Telemetry) -> int:
    return sum(each["requests"] for each in telemetry._counts())


# Reading -----------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read_once_and_a_torn_line_when_it_is_whole(tmp_path: Path) -> None:
    reader, file = Reader(tmp_path), tmp_path / "edge.jsonl"
    file.write_text(line(1))
    assert [hop.trace for hop in reader.poll()] == [f"{1:032x}"]
    assert reader.poll() == []
    whole = line(2)
    with file.open("a") as more:
        more.write(whole[:20])
        more.flush()
        assert reader.poll() == []
        more.write(whole[20:])
    assert [hop.trace for hop in reader.poll()] == [f"{2:032x}"]


def test_what_processes_count_themselves_is_added_up(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    series = 'tierline_journeys_part_stale_total{journey="film",part="details"}'
    recorders = [Recorder(Path(told["hops"]) / f"experience.{zone}.jsonl") for zone in "ab"]
    numbers = {"a": 0, "b": 0}
    for recorder, zone in zip(recorders, numbers, strict=True):
        recorder.counts_of(lambda zone=zone: {series: numbers[zone]})
    telemetry = Telemetry(told)
    for more in ({"a": 1, "b": 2}, {"a": 4, "b": 2}):
        numbers.update(more)
        for recorder in recorders:
            recorder.flush()
        poll(telemetry)
    page = metrics.page([], [], telemetry._reader.metrics)
    assert f"# TYPE tierline_journeys_part_stale_total counter\n{series} 6\n" in page
    assert requests(telemetry) == 0
    monkeypatch.setattr(reading, "_SERIES", 2)
    with (Path(told["hops"]) / "experience.a.jsonl").open("a") as more_lines:
        for line in (
            '{"metric":"one","c":1}',
            '{"metric":"two","c":1}',
            '{"metric":1}',
            '{"metric":"x","c":"1"}',
        ):
            more_lines.write(line + "\n")
    poll(telemetry)
    assert dict(telemetry._reader.metrics) == {series: 6, "one": 1}


def test_lines_of_strangers_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "edge.jsonl").write_bytes(
        b"nonsense\n\xff\xfe\n[]\n3\n" + line(1).encode() + b'{"f": "01", "s": {}}\n'
    )
    assert len(Reader(tmp_path).poll()) == 1


def test_every_request_is_counted_and_only_sampled_ones_and_failures_are_kept(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    (tmp_path / "edge.jsonl").write_text(
        line(1)
        + line(2, "00") * 3
        + line(3, "00", 503)
        + '{"f":"00","s":200,"T":"cdn","y":"nginx","z":"a","c":40}\n'
    )
    assert [(hop.trace[-1], hop.status) for hop in reader.poll()] == [("1", 200), ("3", 503)]
    assert {key[3]: number for *key, number in reader.counts()} == {200: 44, 503: 1}
    assert reader.counts() == []


def test_a_file_that_has_grown_large_is_cut_and_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST", 1000)
    reader, file = Reader(tmp_path), tmp_path / "edge.jsonl"
    file.write_text(line(1) * 20)
    assert len(reader.poll()) == 20
    assert file.stat().st_size == 0
    with file.open("a") as more:
        more.write(line(2))
    assert len(reader.poll()) == 1


# Landing -----------------------------------------------------------------------------------------------------


def test_a_telemetry_that_starts_again_lands_nothing_twice_and_misses_nothing(told: dict[str, Any]) -> None:
    file = Path(told["hops"]) / "edge.jsonl"
    file.write_text(line(1) + line(2))
    first = Telemetry(told)
    poll(first)
    first.land()
    with file.open("a") as more:
        more.write(line(3))
    poll(first)  # read, but the process is killed before it lands
    first._store.close()

    second = Telemetry(told)
    poll(second)
    second.land()
    assert requests(second) == 3
    assert second._store.rows("select count(*), count(distinct trace) from hops") == [(3, 3)]
    second.close()
    third = Telemetry(told)
    poll(third)
    third.land()
    assert requests(third) == 3
    third.close()


def test_a_trip_is_found_in_memory_and_in_the_database(told: dict[str, Any]) -> None:
    (Path(told["hops"]) / "edge.jsonl").write_text(
        line(7, n="GET /", v="HIT", a={"k": 'quote " and , comma'})
    )
    first = Telemetry(told)
    poll(first)
    first.land()
    (fresh,) = first._trip(f"{7:032x}")
    first.close()
    second = Telemetry(told)
    (stored,) = second._trip(f"{7:032x}")
    second.close()
    assert msgspec.convert(stored, Hop) == msgspec.convert(fresh, Hop), "what was empty stays empty"
    for found in (fresh, stored):
        assert (found["T"], found["n"], found["v"], found["a"]) == (
            "cdn",
            "GET /",
            "hit",
            {"k": 'quote " and , comma'},
        )


def test_details_are_forgotten_after_their_time_and_counts_are_not(told: dict[str, Any]) -> None:
    telemetry = Telemetry(told)
    (Path(told["hops"]) / "edge.jsonl").write_text(line(1, b=1_000_000, d=5))
    poll(telemetry)
    telemetry.land()
    telemetry._store.forget(hops=3600, counts=86400, events=86400)
    assert telemetry._store.rows("select count(*) from hops") == [(0,)]
    assert requests(telemetry) == 1
    telemetry.close()


def test_errors_without_end_and_one_trace_for_everything_have_a_bound(told: dict[str, Any]) -> None:
    telemetry = Telemetry(told)
    file = Path(told["hops"]) / "edge.jsonl"
    file.write_text("".join(line(1, b=number, v=f"verdict {number}") for number in range(1, 7001)))
    poll(telemetry)
    telemetry.land()
    assert len(telemetry._trip(f"{1:032x}")) == 1000
    assert requests(telemetry) == 7000, "each is counted, the many kinds together"
    assert len(telemetry._counts()) <= 5001
    keeping.trim(telemetry._store._db, most=100)
    assert telemetry._store.rows("select count(*), min(epoch_us(time)), max(epoch_us(time)) from hops") == [
        (90, 6911, 7000)
    ]
    telemetry.close()


# OTLP --------------------------------------------------------------------------------------------------------


def spans(*listed: dict[str, Any], service: str = "web") -> bytes:
    about = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return json.dumps(
        {"resourceSpans": [{"resource": about, "scopeSpans": [{"spans": list(listed)}]}]}
    ).encode()


SPAN: dict[str, Any] = {
    "traceId": "ab" * 16, "spanId": "cd" * 8, "parentSpanId": "ef" * 8, "name": "render",
    "startTimeUnixNano": "1000000", "endTimeUnixNano": "4000000",
    "attributes": [{"key": "n", "value": {"intValue": "3"}}], "status": {"code": 2},
}  # fmt: skip


def test_a_span_becomes_a_hop() -> None:
    (hop,) = otlp.hops(spans(SPAN))
    assert hop == Hop(
        trace="ab" * 16, span="cd" * 8, parent="ef" * 8, tier="feature", system="web", start_us=1000,
        duration_us=3000, status=1, verdict="span", name="render", attributes={"n": "3"},
    )  # fmt: skip


def test_ids_may_come_as_base64() -> None:
    trace = base64.b64encode(bytes.fromhex("ab" * 16)).decode()
    (hop,) = otlp.hops(spans({**SPAN, "traceId": trace}))
    assert hop.trace == "ab" * 16


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"resourceSpans": 3}', spans({}), spans({**SPAN, "traceId": "zz"})]
)
def test_what_is_no_export_request_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        otlp.hops(body)


def test_what_no_column_can_hold_keeps_nothing_else_out(told: dict[str, Any]) -> None:
    strange = [
        {**SPAN, "traceId": "01" * 16, "name": "a\rb"},
        {**SPAN, "traceId": "02" * 16, "endTimeUnixNano": "9" * 40},
        {**SPAN, "traceId": "03" * 16, "startTimeUnixNano": "9" * 30},
    ]
    records = [
        {"eventName": "rated", "timeUnixNano": str(at), "attributes": [{"key": "client", "value": {"stringValue": "a\rb"}},
                                                                  {"key": "step.index", "value": {"intValue": index}}]}
        for at, index in ((10**18, "1"), (10**30, "1"), (10**18, "9" * 12))
    ]  # fmt: skip
    telemetry = Telemetry(told)
    (Path(told["hops"]) / "edge.jsonl").write_text(line(5))
    poll(telemetry)
    for span in strange:
        for hop in otlp.hops(spans(span)):
            telemetry._keep(hop)
    refused = 0
    for record in records:
        body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
        try:
            telemetry._happened += happenings.logs(body, "k")
        except ValueError:
            refused += 1
    telemetry.land()
    traces = {row[0] for row in telemetry._store.rows("select trace from hops")}
    assert {f"{5:032x}", "01" * 16} <= traces
    assert refused == 2 and telemetry._store.rows("select client from events") == [("a b",)]
    telemetry.close()


# Events, and how long what is kept ---------------------------------------------------------------------------


def step(number: int, index: int, session: str, **more: Any) -> str:
    told = {
        "event": "step", "funnel": "buy", "step": ("home", "film", "checkout")[index], "index": index, "of": 3,
        "session": session, "client": "web", "trace": f"{number:032x}", "at": time.time(), "path": "/x", **more,
    }  # fmt: skip
    return json.dumps(told) + "\n"


def test_steps_become_a_funnel_and_land_once_each(told: dict[str, Any]) -> None:
    file = Path(told["hops"]) / "apps.jsonl"
    file.write_text(
        "".join(step(n, 0, f"v{n}") for n in range(4)) + step(4, 0, "v0", again=True)
        + "".join(step(n, 1, f"v{n}", client="mobile") for n in range(2)) + step(9, 2, "v0") + '{"event":"torn'
    )  # fmt: skip
    telemetry = Telemetry(told)
    poll(telemetry)
    telemetry.land()
    telemetry.close()
    telemetry = Telemetry(told)  # started again: nothing is there twice
    poll(telemetry)
    telemetry.land()
    (funnel,) = funnels(telemetry._store.rows, "", "", 0)
    assert funnel["funnel"] == "buy"
    seen = [(s["step"], s["events"], s["visitors"], s["of_previous"], s["of_first"]) for s in funnel["steps"]]
    assert seen == [("home", 5, 4, 1.0, 1.0), ("film", 2, 2, 0.5, 0.5), ("checkout", 1, 1, 0.5, 0.25)]
    (mobile,) = funnels(telemetry._store.rows, "buy", "mobile", 0)
    assert [s["step"] for s in mobile["steps"]] == ["film"]
    assert funnels(telemetry._store.rows, "other", "", 0) == []
    assert funnels(telemetry._store.rows, "", "", time.time() + 60) == []
    (more,) = telemetry._store.rows("select attributes from events where step = 'checkout'")
    assert json.loads(more[0]) == {"of": 3, "path": "/x"}
    telemetry.close()


def test_a_service_s_own_events_come_as_otlp_logs() -> None:
    def text(key: str, value: str) -> dict[str, Any]:
        return {"key": key, "value": {"stringValue": value}}

    record = {
        "eventName": "rated", "timeUnixNano": "1700000000000000000", "traceId": f"{7:032x}",
        "attributes": [text("session.id", "user:jo"), text("client", "mobile"), text("film", "7")],
    }  # fmt: skip
    body = {
        "resourceLogs": [
            {
                "resource": {"attributes": [text("service.name", "ratings")]},
                "scopeLogs": [{"logRecords": [record, {"body": {"stringValue": "only a line"}}]}],
            }
        ]
    }
    (event,) = happenings.logs(json.dumps(body).encode(), "key")
    assert event[:2] == (1700000000 * 10**6, "rated")
    assert event[5] == happenings.pseudonym("key", "user:jo") != happenings.pseudonym("other", "user:jo")
    assert event[6:] == ("mobile", "", f"{7:032x}", {"film": "7", "service": "ratings"})


def test_old_counts_are_summed_up_and_very_old_ones_are_gone(told: dict[str, Any]) -> None:
    telemetry = Telemetry(told)
    store = telemetry._store
    for ago in (10, 11, 7200, 7201, 7202, 3 * 86400, 3 * 86400 + 70, 100 * 86400):
        store._db.execute(
            "insert into counts values (make_timestamp(?), 'cdn', 'nginx', 'a', 200, 'hit', 2)",
            (int((time.time() // 60 * 60 + 30 - ago) * 1e6),),
        )
    for _ in range(2):
        store.forget(hops=3600, counts=90 * 86400, events=86400)
    assert store.totals() == [("cdn", "nginx", "a", 200, "hit", 14)]
    ((rows,),) = store.rows("select count(*) from counts")
    assert rows in (4, 5), "two by the second, three in a minute, two in one hour or in two"
    store.add(
        [],
        [],
        {},
        events=[(int((time.time() - 2 * 86400) * 1e6), "step", "buy", "home", 0, "v", "web", "a", "", {})],
    )
    store.forget(hops=3600, counts=86400, events=86400)
    assert store.rows("select count(*) from events") == [(0,)]
    telemetry.close()


def test_who_answered_is_added_up_and_lines_are_counted_as_if_it_were_not_there(tmp_path: Path) -> None:
    reader, file = Reader(tmp_path), tmp_path / "gateway.jsonl"
    head = '{"f":"00","s":200,"T":"gateway","y":"%s","z":"a","v":"allowed"'
    who = ',"r":"plain","u":"a \\"h\\":\\"x\\",\\"l\\":\\"1\\""}\n'
    with file.open("w") as out:
        for us in (100, 250):  # Envoy
            out.write(head % "envoy" + f',"h":"127.0.0.1:81","l":"{us}"' + who)
        out.write(head % "envoy" + ',"h":"-","l":"-"' + who)
        # nginx tried two; its line has nobody last
        out.write(head % "nginx" + ',"h":"127.0.0.1:82, 127.0.0.1:81","l":"0.002, 0.010"}\n')
        # HAProxy's lines are whole
        told = line(flags="00", T="gateway", y="haproxy", b=1, e=5)
        out.write(told.replace("}\n", ',"h":"plain.a","l":"3 ms","r":"plain","o":"-","u":"-"}\n'))
        out.write(told.replace("}\n", ',"h":"<NOSRV>","l":"-1 ms","r":"plain","o":"-","u":"-"}\n'))
    assert reader.poll() == []
    assert reader.carried == {"127.0.0.1:81": (3, 10_350), "plain.a": (1, 3000)}
    counted = {(system, number) for _, system, _, _, _, number in reader.counts()}
    assert counted == {("envoy", 3), ("nginx", 1), ("haproxy", 2)}


# Who may ask --------------------------------------------------------------------------------------------------


def asked(
    telemetry: Telemetry, method: str, path: str, body: bytes = b"{}", **fields: str
) -> tuple[int, dict[bytes, bytes]]:
    """Status and fields of an answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    target, _, query = path.partition("?")
    headers = [
        (name.encode(), value.encode()) for name, value in {"host": "127.0.0.1:4318", **fields}.items()
    ]
    scope = {
        "type": "http",
        "method": method,
        "path": target,
        "query_string": query.encode(),
        "headers": headers,
    }
    asyncio.run(telemetry(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_web_pages_of_strangers_neither_send_nor_read(told: dict[str, Any]) -> None:
    telemetry = Telemetry(told)
    body = b'{"resourceSpans": []}'
    assert asked(telemetry, "POST", "/v1/traces", body)[0] == 200
    assert asked(telemetry, "POST", "/v1/traces", body, host="localhost:4318")[0] == 200
    for path in ("/v1/traces", "/v1/logs"):
        for origin in ("https://evil.example", "http://127.0.0.1:9999", "null", ""):
            assert asked(telemetry, "POST", path, body, origin=origin)[0] == 403, origin
    for host in ("evil.example", "evil.example:4318", "127.0.0.1:9999", "127.0.0.1@evil.example", ""):
        assert asked(telemetry, "POST", "/v1/traces", body, host=host)[0] == 403, host
        assert asked(telemetry, "GET", "/?token=secret", host=host)[0] == 403, host
        assert asked(telemetry, "GET", "/counts", host=host, authorization="Bearer secret")[0] == 403, host


def test_the_page_sets_no_cookie_which_every_port_of_the_address_would_get(told: dict[str, Any]) -> None:
    telemetry = Telemetry(told)
    status, fields = asked(telemetry, "GET", "/?token=secret")
    assert status == 200 and b"set-cookie" not in fields and fields[b"referrer-policy"] == b"no-referrer"
    assert asked(telemetry, "GET", "/", cookie="tierline=secret")[0] == 401
    assert asked(telemetry, "GET", "/")[0] == 401
