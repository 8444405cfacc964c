"""What every name service must do, a test per behaviour. A system inherits it with an empty subclass.

A feature that a system lacks has no test to skip: in its place stands that the plan tells the loss aloud.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest
from dns_line import DNSLine

from tierline import CDN, DNS, Service, Stack
from tierline.lineups import EMBEDDED
from tierline.plan.resolve import resolve
from tierline.tiers.base import system
from tierline.tiers.dns.tier import (
    Failover,
    Geography,
    Latency,
    Multivalue,
    Record,
    Simple,
    Weighted,
)
from waiting import PATIENCE, eventually

EU, US, AP = "eu-west-1", "us-east-1", "ap-southeast-2"
LARGE = tuple(f"{n:03d} " + "x" * 196 for n in range(20))

RECORDS = (
    Record("mail", "A", ("192.0.2.9", "192.0.2.10"), ttl="5s"),
    Record("mail", "AAAA", ("2001:db8::9",)),
    Record("@", "MX", ("10 mail", "20 mail.example.org.")),
    Record("@", "TXT", ("v=spf1 -all", '"two strings" "of one \\"record\\""', "100% %cc sure; yes")),
    Record("@", "CAA", ('0 issue "ca.example"',)),
    Record("_sip._tcp", "SRV", ("0 5 5060 mail",)),
    Record("blog", "CNAME", ("pages.example.org.",)),
    Record("one", "CNAME", ("mail",)),
    Record("two", "CNAME", ("one",)),
    Record("*.wild", "A", ("192.0.2.11",)),
    Record("here.wild", "TXT", ("no address",)),
    Record("a.b.deep", "A", ("192.0.2.12",)),
    Record("svc", "HTTPS", ("1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.9",)),
    Record("other", "ALIAS", ("@",)),
    Record("post", "ALIAS", ("two",)),
    Record("sub", "NS", ("ns.sub", "ns.example.org.")),
    Record("ns.sub", "A", ("192.0.2.13",)),
    Record("large", "TXT", LARGE),
    Record("middle", "TXT", tuple(f"{n:03d} " + "x" * 96 for n in range(8))),
)

ROUTES: dict[str, Any] = {
    "latency": {},
    "simple": {"route": Simple()},
    "multivalue": {"route": Multivalue()},
    "weighted": {"route": Weighted({EU: 3, US: 1, AP: 0})},
    "geography": {"route": Geography({"IE": EU, "EU": AP, "NA": US, "default": Failover((AP, US))})},
    "failover": {"route": Failover((US, AP, EU))},
    "table": {"route": Latency(table={f"{EU}/{AP}": 1, f"{EU}/{EU}": 9})},
    "open": {"route": Simple(), "transfers": ["127.0.0.9/32"]},
}
"""The lines of the suite: each asks for one policy, the first for all records too."""


def stack(name: str, extra: tuple[Record, ...] = ()) -> Stack:
    dns = DNS(
        "cinema.test", health="/health", health_interval="200ms", health_threshold=2, ttl="7s",
        records=(*RECORDS, *extra), **ROUTES[name],
    )  # fmt: skip
    return Stack(
        "cinema", dns=dns, cdn=CDN(places=[EU, US, AP]), zones=["a"],
        services=[Service("web", "app:app", expose=["/"])],
    )  # fmt: skip


Test = TypeVar("Test", bound=Callable[..., None])


def needs(feature: str) -> Callable[[Test], Test]:
    """The test is one of systems that support a feature of tiers/dns."""

    def mark(test: Test) -> Test:
        test.needs = {feature, *getattr(test, "needs", ())}  # type: ignore[attr-defined]
        return test

    return mark


def texts(answer: dns.message.Message, kind: str) -> list[str]:
    wanted = dns.rdatatype.from_text(kind)
    return sorted(item.to_text() for rrset in answer.answer for item in rrset if rrset.rdtype == wanted)


class NameServiceContract:
    """Inherit it and name the system."""

    system: ClassVar[str] = ""
    lines: ClassVar[dict[str, DNSLine]]
    well: ClassVar[dict[str, list[set[str]]]]
    """Where each line sends clients to when all places are well."""

    def __init_subclass__(cls) -> None:
        provider = system("dns", cls.system)
        for name, test in list(vars(NameServiceContract).items()):
            for feature in getattr(test, "needs", set()) - provider.supports:
                assert provider.lacks.get(feature), f"{provider.title} neither supports nor lacks {feature}"
                setattr(cls, name, None)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        cls.lines, cls.well = {}, {}
        yield
        for line in cls.lines.values():
            line.close()

    def line(self, name: str = "latency") -> DNSLine:
        """A line of the suite, started by the first who asks; all its places are well."""
        if name not in self.lines:
            line = self.lines[name] = DNSLine(stack(name), self.system)
            line.start()
            self.well[name] = self.answered(line)
        line = self.lines[name]
        if any(status != 200 for status in line.places.status.values()):
            for region in line.where:
                line.places.heal(region)
            line.until(lambda: self.answered(line) == self.well[name])
        return line

    def answered(self, line: DNSLine) -> list[set[str]]:
        """The places that clients in each region are sent to."""
        return [set(line.places_of(region, 40)) for region in (EU, US, AP)]

    def ask(self, name: str, kind: str, **more: Any) -> dns.message.Message:
        return self.line().ask(name, kind, **more)

    def test_what_it_lacks_is_told_aloud(self) -> None:
        provider = system("dns", self.system)
        assert not provider.supports & set(provider.lacks)
        for feature, why in provider.lacks.items():
            assert "dns=" in why or "client" in why, f"{feature}: {why} does not say what to do instead"
            for name in ROUTES:
                if feature in stack(name).dns.features():  # type: ignore[union-attr]
                    plan = resolve(stack(name), {**EMBEDDED, "dns": self.system})
                    told = [loss for loss in plan.losses if loss.feature == feature]
                    assert told and why in told[0].why

    # Records

    def test_addresses(self) -> None:
        answer = self.ask("mail.cinema.test", "A")
        assert texts(answer, "A") == ["192.0.2.10", "192.0.2.9"]
        assert answer.answer[0].ttl == 5
        assert answer.flags & dns.flags.AA and not answer.flags & dns.flags.RA
        assert texts(self.ask("mail.cinema.test", "AAAA"), "AAAA") == ["2001:db8::9"]

    def test_apex_has_its_records_beside_the_route(self) -> None:
        assert texts(self.ask("cinema.test", "MX"), "MX") == ["10 mail.cinema.test.", "20 mail.example.org."]
        assert texts(self.ask("cinema.test", "NS"), "NS") == ["ns1.cinema.test."]
        assert texts(self.ask("cinema.test", "CAA"), "CAA") == ['0 issue "ca.example"']
        soa = self.ask("cinema.test", "SOA").answer[0][0]
        assert str(soa.mname) == "ns1.cinema.test." and soa.minimum == 7
        assert texts(self.ask("ns1.cinema.test", "A"), "A") == ["127.0.0.1"]

    def test_texts_are_what_was_written(self) -> None:
        found = self.ask("cinema.test", "TXT").answer[0]
        strings = sorted(item.strings for item in found)
        assert strings == [(b"100% %cc sure; yes",), (b"two strings", b'of one "record"'), (b"v=spf1 -all",)]

    def test_services(self) -> None:
        assert texts(self.ask("_sip._tcp.cinema.test", "SRV"), "SRV") == ["0 5 5060 mail.cinema.test."]
        told = self.ask("svc.cinema.test", "HTTPS").answer[0][0].to_text()
        assert told == '1 . alpn="h2,h3" port="8443" ipv4hint="192.0.2.9"'

    def test_the_route_has_an_https_record(self) -> None:
        line = self.line()
        (found,) = line.ask("cinema.test", "HTTPS", region=US).answer
        port = line.addresses[(line.plan.entry[0], "https")][1]
        assert found[0].to_text() == f'1 . alpn="h2" port="{port}" ipv4hint="{line.where[US]}"'
        assert found.ttl == 7

    def test_aliases_are_followed(self) -> None:
        answer = self.ask("two.cinema.test", "A")
        assert texts(answer, "CNAME") == ["mail.cinema.test.", "one.cinema.test."]
        assert texts(answer, "A") == ["192.0.2.10", "192.0.2.9"]
        assert texts(self.ask("blog.cinema.test", "A"), "CNAME") == ["pages.example.org."]
        assert texts(self.ask("www.cinema.test", "A"), "A") == [self.line().where[EU]]

    def test_alias_has_the_addresses_of_its_target(self) -> None:
        line = self.line()
        for region in (EU, US):
            assert line.addresses_of(region, "other.cinema.test") == [line.where[region]]
        answer = self.ask("post.cinema.test", "A")
        assert texts(answer, "A") == ["192.0.2.10", "192.0.2.9"] and not texts(answer, "CNAME")
        assert {rrset.ttl for rrset in answer.answer} == {5}

    def test_wildcards(self) -> None:
        assert texts(self.ask("any.wild.cinema.test", "A"), "A") == ["192.0.2.11"]
        assert self.ask("any.wild.cinema.test", "A").answer[0].name.to_text() == "any.wild.cinema.test."
        here = self.ask("here.wild.cinema.test", "A")
        assert not here.answer and here.rcode() == dns.rcode.NOERROR

    def test_delegations(self) -> None:
        answer = self.ask("www.sub.cinema.test", "A")
        assert not answer.answer and not answer.flags & dns.flags.AA
        (servers,) = answer.authority
        assert {item.to_text() for item in servers} == {"ns.sub.cinema.test.", "ns.example.org."}
        assert any(rrset.name.to_text() == "ns.sub.cinema.test." for rrset in answer.additional)

    # What is not there

    def test_no_such_name(self) -> None:
        answer = self.ask("nothing.cinema.test", "A")
        assert answer.rcode() == dns.rcode.NXDOMAIN and answer.flags & dns.flags.AA
        (soa,) = answer.authority
        assert soa.rdtype == dns.rdatatype.SOA and soa.name.to_text() == "cinema.test." and soa.ttl <= 7

    @pytest.mark.parametrize(
        ("name", "kind"), [("mail", "TXT"), ("b.deep", "A"), ("svc", "A"), ("any.wild", "AAAA")]
    )
    def test_no_such_data(self, name: str, kind: str) -> None:
        answer = self.ask(f"{name}.cinema.test", kind)
        assert answer.rcode() == dns.rcode.NOERROR and not answer.answer
        (soa,) = answer.authority
        assert soa.rdtype == dns.rdatatype.SOA and soa.ttl <= 7

    def test_names_of_others_are_refused(self) -> None:
        for name in ("example.org", "test", "xcinema.test", "."):
            answer = self.ask(name, "A")
            assert answer.rcode() == dns.rcode.REFUSED, name
            assert not answer.answer and not answer.authority and not answer.flags & dns.flags.AA

    # The protocol

    def test_case_is_preserved(self) -> None:
        answer = self.ask("MaiL.ciNEma.TEST", "A")
        assert answer.question[0].name.labels == (b"MaiL", b"ciNEma", b"TEST", b"")
        assert answer.answer[0].name.labels[0] == b"MaiL" and len(texts(answer, "A")) == 2

    def test_edns(self) -> None:
        assert self.ask("mail.cinema.test", "A", use_edns=-1).edns == -1
        answer = self.ask("mail.cinema.test", "A", payload=4096)
        assert answer.edns == 0 and 512 <= answer.payload <= 4096
        assert self.ask("mail.cinema.test", "A", use_edns=1).rcode() == dns.rcode.BADVERS
        unknown = dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"whatever")
        assert texts(self.ask("mail.cinema.test", "A", options=[unknown]), "A")

    @pytest.mark.parametrize(("payload", "limit"), [(0, 512), (700, 700), (4096, 1232)])
    def test_what_is_too_large_is_cut_and_whole_over_tcp(self, payload: int, limit: int) -> None:
        line = self.line()
        more: dict[str, Any] = {"payload": payload} if payload else {"use_edns": -1}
        wire = line.raw(line.query("large.cinema.test", "TXT", **more).to_wire())
        assert wire is not None and len(wire) <= limit
        assert dns.message.from_wire(wire).flags & dns.flags.TC
        whole = line.ask("large.cinema.test", "TXT", tcp=True)
        assert len(whole.answer[0]) == 20 and not whole.flags & dns.flags.TC

    def test_what_fits_is_not_cut(self) -> None:
        assert len(self.ask("middle.cinema.test", "TXT", payload=1232).answer[0]) == 8

    def test_several_questions_over_one_connection(self) -> None:
        line = self.line()
        with socket.create_connection((line.host, line.port), timeout=PATIENCE) as link:
            for kind in ("A", "AAAA", "TXT"):
                dns.query.send_tcp(link, line.query("mail.cinema.test", kind))
            kinds = {dns.query.receive_tcp(link)[0].question[0].rdtype for _ in range(3)}
        assert kinds == {dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.TXT}

    def test_a_transfer_is_refused(self) -> None:
        line = self.line()
        query = dns.message.make_query("cinema.test", "AXFR")
        answer = dns.query.tcp(query, line.host, port=line.port, timeout=PATIENCE)
        assert answer.rcode() in (dns.rcode.REFUSED, dns.rcode.NOTAUTH) and not answer.answer

    @needs("transfers")
    def test_who_may_transfer_gets_the_whole_zone(self) -> None:
        line = self.line("open")
        zone = dns.zone.from_xfr(
            dns.query.xfr(line.host, "cinema.test", port=line.port, source="127.0.0.9", lifetime=5)
        )
        kinds = {(str(name), dns.rdatatype.to_text(each.rdtype)) for name, each in zone.iterate_rdatasets()}
        assert kinds >= {
            ("@", "SOA"),
            ("@", "NS"),
            ("@", "A"),
            ("@", "MX"),
            ("mail", "AAAA"),
            ("_sip._tcp", "SRV"),
        }
        query = dns.message.make_query("cinema.test", "AXFR")
        answer = dns.query.tcp(query, line.host, port=line.port, timeout=PATIENCE)
        assert answer.rcode() in (dns.rcode.REFUSED, dns.rcode.NOTAUTH) and not answer.answer

    @needs("raw")
    def test_what_is_raw_counts(self) -> None:
        def shape(line: DNSLine) -> tuple[bool, bool]:
            cut = bool(line.ask("middle.cinema.test", "TXT", payload=1232).flags & dns.flags.TC)
            return cut, bool(line.ask("cinema.test", "MX").additional)

        raw = {
            "embedded": '{"udp_size": 700}', "bind9": "minimal-responses yes;", "powerdns": "udp-truncation-threshold=700",
        }  # fmt: skip
        ROUTES["raw"] = {"route": Simple(), "raw": raw[self.system]}
        assert shape(self.line("raw")) != shape(self.line("open"))

    def test_any_gives_nothing_to_amplify(self) -> None:
        line = self.line()
        for name in ("large.cinema.test", "cinema.test"):
            query = line.query(name, "ANY", payload=4096).to_wire()
            answer = line.raw(query)
            assert answer is not None and len(answer) < 400
            parsed = dns.message.from_wire(answer)
            assert parsed.flags & dns.flags.TC or len(parsed.answer) <= 1

    def test_it_keeps_its_version_to_itself(self) -> None:
        answer = self.ask("version.bind", "TXT", rdclass="CH")
        assert not any("9." in text or "4." in text for text in texts(answer, "TXT"))

    def test_malformed_packets_harm_nobody(self) -> None:
        line = self.line()
        good = line.query("mail.cinema.test", "A", region=EU).to_wire()
        dice = random.Random(4)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            for cut in range(len(good)):
                link.sendto(good[:cut], (line.host, line.port))
            for _ in range(600):
                bad = bytearray(good)
                for _ in range(dice.randint(1, 6)):
                    bad[dice.randrange(2, len(bad))] = dice.randrange(256)
                link.sendto(bytes(bad), (line.host, line.port))
            link.sendto(
                b"\x00\x01\x01\x00\x00\x01" + b"\x00" * 6 + b"\xc0\x0c\x00\x01\x00\x01",
                (line.host, line.port),
            )
        for data in (b"", b"\x00", b"\xff\xff" + b"\x00" * 40, b"\x00\x03abc"):
            with socket.create_connection((line.host, line.port), timeout=PATIENCE) as link:
                link.sendall(data)
        assert texts(self.ask("mail.cinema.test", "A"), "A") and self.alive(line)
        assert texts(self.ask("mail.cinema.test", "A", tcp=True), "A")

    def test_an_answer_is_never_answered(self) -> None:
        line = self.line()
        query = line.query("mail.cinema.test", "A")
        query.flags |= dns.flags.QR
        assert line.raw(query.to_wire(), timeout=0.3) is None

    def alive(self, line: DNSLine) -> bool:
        return all(popen.poll() is None for popen in line.running.values())

    # Where a client is sent

    @needs("latency")
    def test_latency(self) -> None:
        line = self.line()
        for region in (EU, US, AP):
            assert line.places_of(region) == [region]
        assert line.places_of("eu-central-1") == line.places_of() == [EU]
        assert line.places_of("ap-northeast-1") == [AP]

    @needs("latency")
    def test_latency_by_a_table_of_ones_own(self) -> None:
        line = self.line("table")
        assert line.places_of(EU) == [AP] and line.places_of(US) == [US]

    @needs("simple")
    def test_simple(self) -> None:
        line = self.line("simple")
        assert {tuple(line.places_of(region)) for region in (EU, US, AP)} == {(EU,)}

    @needs("multivalue")
    def test_multivalue(self) -> None:
        line = self.line("multivalue")
        assert sorted(line.places_of(US)) == sorted([EU, US, AP])
        first = Counter(line.ask().answer[0][0].to_text() for _ in range(60))
        assert len(first) == 3, f"the order never changes: {first}"

    @needs("weighted")
    def test_weighted(self) -> None:
        counts = Counter(self.line("weighted").places_of(times=400))
        assert set(counts) == {EU, US} and 250 < counts[EU] < 350  # 300, by more than five deviations

    @needs("geography")
    def test_geography(self) -> None:
        line = self.line("geography")
        assert line.places_of(EU) == [EU]  # IE
        assert line.places_of("eu-central-1") == [AP]  # DE, by its continent
        assert line.places_of("ca-central-1") == line.places_of("mx-central-1") == [US]
        assert line.places_of("sa-east-1") == [AP]  # by default

    @needs("failover")
    def test_failover(self) -> None:
        line = self.line("failover")
        assert line.places_of(EU) == line.places_of(AP) == [US]

    @needs("ecs")
    def test_a_clients_subnet_is_honoured_and_given_back_with_its_scope(self) -> None:
        line = self.line()
        for subnet, place, scopes in (
            (f"{self.network(US)}/24", US, range(1, 25)),
            (f"{self.network(AP)}/32", AP, range(1, 25)),
            ("2001:2:0:0::/64", US, range(1, 65)),
            ("203.0.113.0/24", EU, range(1, 25)),
        ):
            answer = line.ask(subnet=subnet)
            assert texts(answer, "A") == [line.where[place]], subnet
            (option,) = answer.options
            assert isinstance(option, dns.edns.ECSOption)
            assert option.scopelen in scopes, subnet
            assert option.srclen == int(subnet.partition("/")[2])
        (option,) = line.ask("mail.cinema.test", subnet=f"{self.network(US)}/24").options
        assert isinstance(option, dns.edns.ECSOption) and option.scopelen == 0
        assert not line.ask().options

    def network(self, region: str) -> str:
        from tierline.tiers.dns.common import places

        return places.client(region).rpartition(".")[0] + ".0"

    @needs("rate_limit")
    def test_strangers_are_limited(self) -> None:
        """What the configuration says of strangers; on loopback nobody is one."""
        line = self.line()
        told = "".join(path.read_text() for path in line.context.folder("dns").iterdir() if path.is_file())
        assert "rate-limit" in told or '"rate"' in told

    # Health

    @needs("health_checks")
    def test_a_place_that_is_down_is_taken_out_and_put_back(self) -> None:
        line = self.line("failover")
        for status in (0, 503):
            if status:
                line.places.status[US] = status
            else:
                line.places.kill(US)
            line.until(lambda: line.places_of(EU) == [AP])
            assert US not in line.places_of(US, 5)
            line.places.heal(US)
            line.until(lambda: line.places_of(EU) == [US])

    @needs("health_checks")
    def test_all_down_is_as_if_all_were_well(self) -> None:
        line = self.line("simple")
        for region in line.where:
            line.places.status[region] = 500
        line.noticed(*line.where)
        line.until(lambda: line.places_of() == [EU])  # BIND and PowerDNS read their files anew first
        line.places.heal(US)
        line.until(lambda: line.places_of() == [US])

    @needs("health_checks")
    @needs("multivalue")
    def test_no_value_of_several_is_dead(self) -> None:
        line = self.line("multivalue")
        line.places.status[AP] = 500
        line.until(lambda: sorted(line.places_of()) == sorted([EU, US]))

    @needs("health_checks")
    @needs("weighted")
    def test_no_weight_goes_to_the_dead(self) -> None:
        line = self.line("weighted")
        line.places.status[EU] = 500
        line.until(lambda: set(line.places_of(times=20)) == {US})
        line.places.status[US] = 500
        line.until(lambda: set(line.places_of(times=20)) == {AP})  # its weight is 0: only then

    # Change

    def test_a_change_loses_no_query(self) -> None:
        line = self.line("table")
        stop = threading.Event()
        counts: Counter[str] = Counter()

        def client() -> None:
            while not stop.is_set():
                try:
                    found = line.ask("mail.cinema.test", "A")
                    counts["right" if texts(found, "A") else f"wrong: {found}"] += 1
                except Exception as error:
                    counts[repr(error)] += 1

        clients = [threading.Thread(target=client) for _ in range(2)]
        for each in clients:
            each.start()
        for number in range(5):
            line.resettle(
                stack("table", (Record(f"new{number}", "A", (f"192.0.2.{100 + number}",)),)), self.system
            )
            line.until(
                lambda number=number: (
                    line.addresses_of(name=f"new{number}.cinema.test")  # type: ignore[misc]
                    == [f"192.0.2.{100 + number}"]
                )
            )
        assert line.ask("new3.cinema.test", "A").rcode() == dns.rcode.NXDOMAIN
        line.places.status[EU] = 500
        assert eventually(lambda: counts["right"] > 50 or counts.total() > counts["right"])
        line.noticed(EU)
        stop.set()
        for each in clients:
            each.join()
        assert set(counts) == {"right"}, counts

    def test_a_killed_server_comes_back_with_what_held(self) -> None:
        line = self.line("simple")
        line.places.status[EU] = 500
        line.until(lambda: line.places_of() == [AP])
        line.restart("dns")
        if "dns.health" in line.running:
            assert line.places_of() == [AP]
        line.until(lambda: line.places_of() == [AP])
