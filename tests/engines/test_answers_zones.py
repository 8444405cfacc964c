"""What the answering server says about its zones, with dnspython as the oracle of the wire form."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_answers_support import ZONE, Local, addresses, config, records

NEGATIVE = ["cinema.test. 30 IN SOA ns1.cinema.test. hostmaster.cinema.test. 1 7200 900 1209600 30"]

ORIGIN = dns.name.from_text("cinema.test")


@pytest.fixture(scope="module")
def local() -> Local:
    return Local()


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("cinema.test", "A", ["cinema.test. 60 IN A 127.0.1.1"]),
        (
            "mail.cinema.test",
            "A",
            ["mail.cinema.test. 5 IN A 127.0.0.9", "mail.cinema.test. 5 IN A 127.0.0.10"],
        ),
        ("ns2.cinema.test", "AAAA", ["ns2.cinema.test. 60 IN AAAA 2001:db8::2"]),
        (
            "cinema.test",
            "MX",
            ["cinema.test. 60 IN MX 10 mail.cinema.test.", "cinema.test. 60 IN MX 20 mail.example.org."],
        ),
        (
            "cinema.test",
            "TXT",
            [
                'cinema.test. 60 IN TXT "v=spf1 -all"',
                'cinema.test. 60 IN TXT "two strings" "of one \\"record\\""',
            ],
        ),
        ("cinema.test", "CAA", ['cinema.test. 60 IN CAA 0 issue "ca.example"']),
        (
            "cinema.test",
            "NS",
            ["cinema.test. 60 IN NS ns1.cinema.test.", "cinema.test. 60 IN NS ns2.cinema.test."],
        ),
        ("cinema.test", "SOA", [NEGATIVE[0].replace(" 30 IN", " 60 IN")]),
        ("_sip._tcp.cinema.test", "SRV", ["_sip._tcp.cinema.test. 60 IN SRV 0 5 5060 mail.cinema.test."]),
        (
            "svc.cinema.test",
            "HTTPS",
            ['svc.cinema.test. 60 IN HTTPS 1 . alpn="h2,h3" port="8443" ipv4hint="127.0.0.9"'],
        ),
        (
            "cinema.test",
            "HTTPS",
            ['cinema.test. 60 IN HTTPS 1 . alpn="h2" port="8443" ipv4hint="127.0.1.1"'],
        ),
        ("www.cinema.test", "CNAME", ["www.cinema.test. 60 IN CNAME cinema.test."]),
        (
            "www.cinema.test",
            "A",
            ["www.cinema.test. 60 IN CNAME cinema.test.", "cinema.test. 60 IN A 127.0.1.1"],
        ),
        ("out.cinema.test", "A", ["out.cinema.test. 60 IN CNAME www.example.org."]),
        ("other.cinema.test", "A", ["other.cinema.test. 60 IN A 127.0.1.1"]),
        ("x.y.wild.cinema.test", "A", ["x.y.wild.cinema.test. 60 IN A 127.0.0.11"]),
        ("cinema.test", "ANY", ['cinema.test. 3600 IN HINFO "RFC8482" ""']),
    ],
)
def test_records(local: Local, name: str, kind: str, wanted: list[str]) -> None:
    for tcp in (False, True):
        answer = local.ask(name, kind, tcp=tcp)
        assert answer.rcode() == dns.rcode.NOERROR
        assert answer.flags & dns.flags.AA
        assert not answer.flags & (dns.flags.RA | dns.flags.AD)
        assert records(answer.answer) == wanted


def test_chain(local: Local) -> None:
    assert [rrset.name.to_text() for rrset in local.ask("two.cinema.test").answer] == [
        "two.cinema.test.",
        "one.cinema.test.",
        "mail.cinema.test.",
    ]


def test_chain_in_a_circle_ends(local: Local) -> None:
    assert len(local.ask("loop.cinema.test").answer) == 2


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("nothing.cinema.test", "A", dns.rcode.NXDOMAIN),
        ("cinema.test", "AAAA", dns.rcode.NOERROR),
        ("cinema.test", "LOC", dns.rcode.NOERROR),
        ("mail.cinema.test", "AAAA", dns.rcode.NOERROR),
        ("deep.cinema.test", "A", dns.rcode.NOERROR),  # an empty non-terminal is no NXDOMAIN (RFC 8020)
        ("b.deep.cinema.test", "ANY", dns.rcode.NOERROR),
        ("here.wild.cinema.test", "A", dns.rcode.NOERROR),  # what exists is not covered by the wildcard
        ("x.deep.cinema.test", "A", dns.rcode.NXDOMAIN),
        ("x.here.wild.cinema.test", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_negative_answers_carry_the_soa(local: Local, name: str, kind: str, rcode: int) -> None:
    answer = local.ask(name, kind)
    assert answer.rcode() == rcode
    assert answer.flags & dns.flags.AA
    assert answer.answer == []
    assert records(answer.authority) == NEGATIVE


def test_wildcard_itself(local: Local) -> None:
    assert local.addresses("*.wild.cinema.test") == ["127.0.0.11"]


@pytest.mark.parametrize("name", ["sub.cinema.test", "deep.in.sub.cinema.test"])
def test_delegation(local: Local, name: str) -> None:
    answer = local.ask(name)
    assert not answer.flags & dns.flags.AA
    assert answer.answer == []
    assert records(answer.authority) == [
        "sub.cinema.test. 60 IN NS ns.sub.cinema.test.",
        "sub.cinema.test. 60 IN NS ns.example.org.",
    ]
    assert records(answer.additional) == ["ns.sub.cinema.test. 60 IN A 127.0.0.13"]


def test_additional_addresses(local: Local) -> None:
    assert records(local.ask("cinema.test", "MX").additional) == [
        "mail.cinema.test. 5 IN A 127.0.0.9",
        "mail.cinema.test. 5 IN A 127.0.0.10",
    ]
    assert records(local.ask("cinema.test", "HTTPS").additional) == ["cinema.test. 60 IN A 127.0.1.1"]


def test_refused_outside(local: Local) -> None:
    for name in ("example.org", "test", ".", "xcinema.test"):
        answer = local.ask(name)
        assert answer.rcode() == dns.rcode.REFUSED
        assert not answer.flags & dns.flags.AA
        assert not answer.answer + answer.authority + answer.additional


def test_other_classes_are_refused(local: Local) -> None:
    assert local.ask("version.bind", "TXT", rdclass=dns.rdataclass.CH).rcode() == dns.rcode.REFUSED


def test_transfer_is_refused(local: Local) -> None:
    for kind in ("AXFR", "IXFR"):
        assert local.ask("cinema.test", kind).rcode() == dns.rcode.REFUSED
        assert local.ask("cinema.test", kind, tcp=True).rcode() == dns.rcode.REFUSED


def test_case_is_kept(local: Local) -> None:
    answer = local.ask("WwW.cInEmA.tEsT")
    assert answer.question[0].name.to_text() == "WwW.cInEmA.tEsT."
    assert answer.answer[0].name.to_text() == "WwW.cInEmA.tEsT."
    assert local.ask("www.cinema.test").answer[0].name.to_text() == "www.cinema.test."


def test_flags_are_copied(local: Local) -> None:
    plain = local.ask("cinema.test", flags=0)
    assert not plain.flags & (dns.flags.RD | dns.flags.CD)
    both = local.ask("cinema.test", flags=dns.flags.RD | dns.flags.CD)
    assert both.flags & dns.flags.RD and both.flags & dns.flags.CD


def test_edns(local: Local) -> None:
    without = local.ask("cinema.test", use_edns=-1)
    assert without.edns == -1
    with_it = local.ask("cinema.test", want_dnssec=True)
    assert with_it.edns == 0 and with_it.payload == 1232 and with_it.ednsflags & dns.flags.DO
    version = local.ask("cinema.test", use_edns=1)
    assert version.rcode() == dns.rcode.BADVERS and version.edns == 0 and not version.answer


@pytest.mark.parametrize(
    ("name", "size", "truncated"),
    [
        ("large", 4096, True),  # more than the server sends over UDP whatever is offered
        ("middle", 1232, False),
        ("middle", 512, True),
        ("middle", 100, True),  # below 512 counts as 512 (RFC 6891, section 6.2.3)
        ("mail", 100, False),
    ],
)
def test_sizes(local: Local, name: str, size: int, truncated: bool) -> None:
    kind = "A" if name == "mail" else "TXT"
    answer = local.ask(f"{name}.cinema.test", kind, payload=size)
    assert bool(answer.flags & dns.flags.TC) is truncated
    assert (answer.answer == []) is truncated
    whole = local.ask(f"{name}.cinema.test", kind, payload=size, tcp=True)
    assert not whole.flags & dns.flags.TC and len(whole.answer[0]) > 1


def test_additional_goes_before_the_answer_does() -> None:
    data = config()
    names = [f"n{n}-{'x' * 40}" for n in range(6)]
    data["zones"] = [
        dict(
            data["zones"][0],
            records=[
                *data["zones"][0]["records"][:3],
                {"name": "many", "type": "MX", "values": [f"{n} {name}" for n, name in enumerate(names)]},
                *({"name": name, "type": "AAAA", "values": ["2001:db8::1"]} for name in names),
            ],
        )
    ]
    answer = Local(data).ask("many.cinema.test", "MX", use_edns=-1)
    assert not answer.flags & dns.flags.TC
    assert len(answer.answer[0]) == 6 and not answer.additional


def test_what_is_no_query(local: Local) -> None:
    query = bytearray(dns.message.make_query("cinema.test", "A").to_wire())
    assert local.raw(b"") is None
    assert local.raw(bytes(query[:11])) is None
    response = bytearray(query)
    response[2] |= 0x80
    assert local.raw(bytes(response)) is None  # two servers must never answer each other
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE, 15):
        other = bytearray(query)
        other[2] = opcode << 3
        answer = local.raw(bytes(other))
        assert answer is not None and answer[3] & 15 == dns.rcode.NOTIMP and answer[2] >> 3 & 15 == opcode


@pytest.mark.parametrize(
    "tail",
    [
        b"",  # no question at all
        b"\x06cinema",  # cut short
        b"\x06cinema\x04test\x00\x00\x01",
        b"\xc0\x0c\x00\x01\x00\x01",  # a pointer where there is nothing to point at
        b"\x40" + b"x" * 64 + b"\x00\x00\x01\x00\x01",
        b"".join(b"\x3f" + b"x" * 63 for _ in range(4)) + b"\x00\x00\x01\x00\x01",  # longer than 255
        b"\x06cinema\x04test\x00\x00\x01\x00\x01trailing",
        b"\x06cinema\x04test\x00\x00\x29\x00\x01",  # OPT is no question
    ],
)
def test_malformed_questions(local: Local, tail: bytes) -> None:
    answer = local.raw(b"\x12\x34\x01\x00" + struct.pack("!4H", 1, 0, 0, 0) + tail)
    assert answer is not None and answer[:2] == b"\x12\x34" and answer[3] & 15 == dns.rcode.FORMERR


def opt(options: bytes, name: bytes = b"\x00", version: int = 0) -> bytes:
    return name + struct.pack("!HHBBHH", 41, 1232, 0, version, 0, len(options)) + options


@pytest.mark.parametrize(
    "additional",
    [
        [opt(b""), opt(b"")],
        [opt(b"", name=b"\x01x\x00")],
        [opt(b"\x00\x08\x00")],
        [opt(b"\x00\x08\x00\x09\x00\x01\x18\x00\xc6\x12\x05")],  # longer than it says
        [opt(b"\x00\x08\x00\x08\x00\x01\x18\x00\xc6\x12\x05\x01")],  # more address than 24 bits need
        [opt(b"\x00\x08\x00\x07\x00\x01\x17\x00\xc6\x12\x05")],  # a bit beyond the prefix
        [opt(b"\x00\x08\x00\x07\x00\x01\x18\x18\xc6\x12\x05")],  # a scope in a query
        [opt(b"\x00\x08\x00\x07\x00\x03\x18\x00\xc6\x12\x05")],  # no family
        [opt(b"\x00\x08\x00\x09\x00\x01\x28\x00\xc6\x12\x05\x01\x01")],  # 40 bits of IPv4
        [opt(b"\x00\x08\x00\x02\x00\x01")],
    ],
)
def test_malformed_edns(local: Local, additional: list[bytes]) -> None:
    head = b"\x12\x34\x01\x00" + struct.pack("!4H", 1, 0, 0, len(additional))
    answer = local.raw(head + b"\x06cinema\x04test\x00\x00\x01\x00\x01" + b"".join(additional))
    assert answer is not None and dns.message.from_wire(answer).rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize(
    ("subnet", "address", "scope"),
    [
        ("198.18.5.0/24", "127.0.2.1", 24),
        ("198.18.5.77/32", "127.0.2.1", 24),
        ("198.18.0.0/16", "127.0.1.1", 22),  # 198.18.0.0 to 198.18.3.255 are all alike, 198.18.5.0 is not
        ("198.18.200.0/24", "127.0.1.1", 17),
        ("2001:db8:5:1::/64", "127.0.2.1", 48),
        ("203.0.113.0/24", "127.0.1.1", 5),
        ("0.0.0.0/0", "127.0.1.1", 0),
        ("::ffff:198.18.5.0/120", "127.0.2.1", 120),
    ],
)
def test_client_subnet(local: Local, subnet: str, address: str, scope: int) -> None:
    answer = local.ask("cinema.test", subnet=subnet)
    assert addresses(answer) == [address]
    (option,) = answer.options
    assert isinstance(option, dns.edns.ECSOption)
    assert (option.address, option.srclen) == tuple(
        kind(part) for kind, part in zip((str, int), subnet.split("/"), strict=True)
    )
    assert option.scopelen == scope
    # What does not depend on the client says so (RFC 7871, section 7.2.1).
    assert local.ask("mail.cinema.test", subnet=subnet).options[0].scopelen == 0
    assert local.ask("example.org", subnet=subnet).options[0].scopelen == 0


def test_scope_is_as_wide_as_can_be() -> None:
    """Every address within a scope is answered alike, and one bit less would not do."""
    local = Local()
    for number in (*range(0, 256, 17), 4, 5, 6, 7):
        answer = local.ask("cinema.test", subnet=f"198.18.{number}.0/24")
        scope = answer.options[0].scopelen
        base = (198 << 24 | 18 << 16 | number << 8) >> (32 - scope) << (32 - scope)
        for at in {base, base + (1 << (32 - scope)) - 1}:
            text = ".".join(str(byte) for byte in at.to_bytes(4, "big"))
            assert local.addresses(subnet=f"{text}/32") == addresses(answer)


def test_without_a_subnet_the_resolver_is_the_client(local: Local) -> None:
    assert local.addresses(host="198.18.5.9") == ["127.0.2.1"]
    assert local.addresses(host="::ffff:198.18.5.9") == ["127.0.2.1"]
    assert local.addresses(host="127.9.9.9") == ["127.0.1.1"]
    assert local.addresses(host="203.0.113.9") == ["127.0.1.1"]
    assert local.addresses(host="fe80::1%eth0") == ["127.0.1.1"]


def test_all_types_against_dnspython(local: Local) -> None:
    """What the server writes means what dnspython reads from the same text."""
    for record in ZONE["records"]:
        if record["type"] == "ALIAS" or record["name"].endswith("sub"):
            continue
        owner = (
            "cinema.test." if record["name"] == "@" else record["name"].replace("*", "any") + ".cinema.test."
        )
        answer = local.ask(owner, record["type"], tcp=True)
        quoted = [
            f'"{v}"' if record["type"] == "TXT" and not v.startswith('"') else v for v in record["values"]
        ]
        wanted = dns.rdataset.from_text_list("IN", record["type"], 60, quoted, origin=ORIGIN)
        texts = {item.to_text(ORIGIN, relativize=False) for item in wanted}
        assert {item.to_text() for item in answer.answer[0]} == texts


fuzzed = Local()
_query = dns.message.make_query(
    "www.cinema.test", "A", use_edns=0, options=[dns.edns.ECSOption("198.18.5.0", 24)]
).to_wire()


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    check(data)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, len(_query) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(_query)),
    st.binary(max_size=40),
)
def test_mutated_queries(changes: list[tuple[int, int]], cut: int, more: bytes) -> None:
    data = bytearray(_query)
    for at, value in changes:
        data[at] = value
    check(bytes(data))
    check(bytes(data[:cut]) + more)
    check(bytes(data) + more)


def check(data: bytes) -> None:
    """Any answer is a message, of the query's id, no longer than allowed; and TCP says the same."""
    for _ in range(2):
        answer = fuzzed.raw(data)
        if answer is not None:
            assert answer[:2] == data[:2] and answer[2] & 0x80 and len(answer) <= 1232
            dns.message.from_wire(answer)
    for message in fuzzed.answerer.message(data, "127.0.0.1"):
        dns.message.from_wire(message)
    assert fuzzed.stats.failures == 0


plain = Local()
plain.answerer._keep = lambda *_: None  # type: ignore[method-assign]


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(
        ["cinema.test", "www.cinema.test", "x.wild.cinema.test", "none.cinema.test", "example.org"]
    ),
    st.sampled_from(["A", "HTTPS", "AAAA", "TXT"]),
    st.integers(0, 2**20),
    st.sampled_from([None, (24, 4), (32, 4), (20, 4), (0, 4), (56, 6), (48, 6)]),
    st.sampled_from(["198.18.5.9", "198.18.4.1", "198.18.6.1", "0.8.0.8", "203.8.0.1"]),
    st.sampled_from(["2001:db8:5::8", "2001:db8:6:8::", "0:8:0:8::8"]),
    st.sampled_from([512, 1232, 0x0800, 0x0008]),
    st.sampled_from([0, dns.flags.RD, dns.flags.RD | dns.flags.CD]),
    st.sampled_from([None, b"\x00\x08\x00\x07\x00\x01\x18\x00", b"12345678"]),
    st.booleans(),
    st.tuples(st.integers(2, 120), st.integers(0, 255)),
)
def test_what_is_kept_is_what_would_be_answered(
    name: str,
    kind: str,
    case: int,
    subnet: tuple[int, int] | None,
    four: str,
    six: str,
    size: int,
    flags: int,
    cookie: bytes | None,
    cookie_last: bool,
    change: tuple[int, int],
) -> None:
    mixed = "".join(char.upper() if case >> at & 1 else char for at, char in enumerate(name))
    options: list[dns.edns.Option] = []
    if subnet is not None:
        options.append(dns.edns.ECSOption(four if subnet[1] == 4 else six, subnet[0]))
    if cookie is not None:
        options.insert(len(options) if cookie_last else 0, dns.edns.GenericOption(10, cookie))
    edns = 0 if options or case & 1 else -1
    wire = dns.message.make_query(
        mixed, kind, use_edns=edns, options=options, payload=size, flags=flags
    ).to_wire()
    damaged = bytearray(wire)
    damaged[change[0] % len(wire)] = change[1]
    for data in (wire, wire, wire, bytes(damaged)):
        assert fuzzed.raw(data) == plain.answerer.datagram(data, "127.0.0.1")


def test_ds_is_the_parents_to_answer(local: Local) -> None:
    answer = local.ask("sub.cinema.test", "DS")
    assert answer.flags & dns.flags.AA and not answer.answer
    assert records(answer.authority) == NEGATIVE
