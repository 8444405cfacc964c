"""The plan of a registration: complete, checked, told to nobody else, and never carried out."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from workbench import Bench

OWNER = {
    "FirstName": "Alexandra", "LastName": "Kern", "ContactType": "COMPANY", "OrganizationName": "Kino GmbH",
    "AddressLine1": "Am Markt 1", "City": "Berlin", "CountryCode": "DE", "ZipCode": "10117",
    "PhoneNumber": "+49.3012345678", "Email": "alexandra@kino.example",
}  # fmt: skip

STACK = """
from tierline import DNS, Registration, Service, Stack
stack = Stack("kino", dns=DNS("DOMAIN", registration=WANTED), services=[Service("one", "one:app", expose=["/"])])
"""


def line(
    bench: Callable[..., Bench], wanted: str = "Registration('owner.json', years=2, price=14.5)", *,
    domain: str = "kino.berlin", **owner: Any,
) -> Bench:  # fmt: skip
    files = {"owner.json": json.dumps({**OWNER, **owner})}
    return bench(STACK.replace("DOMAIN", domain).replace("WANTED", wanted), **files)


def test_it_shows_for_whom_how_long_and_at_what_price(bench: Callable[..., Bench]) -> None:
    done = line(bench).run("domain")
    assert done.returncode == 0, done.stderr
    assert "$29.00 for 2 years" in done.stdout and "Kino GmbH, DE, not published" in done.stdout
    assert "nothing was registered" in done.stdout and "list-prices --tld berlin" in done.stdout
    assert "alexandra@" not in done.stdout and "Am Markt" not in done.stdout


def test_the_request_is_what_the_registrars_api_takes(bench: Callable[..., Bench]) -> None:
    one = line(bench)
    assert one.run("domain", "--request", str(one.folder / "register.json")).returncode == 0
    written = one.folder / "register.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    request = json.loads(written.read_text())
    model = botocore.session.get_session().get_service_model("route53domains")
    shape = model.operation_model("RegisterDomain").input_shape
    assert not ParamValidator().validate(request, shape).has_errors()


def test_the_owner_reaches_neither_plan_nor_template(bench: Callable[..., Bench]) -> None:
    one = line(bench)
    for command in (("plan", "--json"), ("plan", "--lineup", "aws")):
        done = one.run(*command)
        assert done.returncode == 0, done.stderr
        assert "Alexandra" not in done.stdout and "alexandra" not in done.stdout


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ({"PhoneNumber": "030 12345678"}, "PhoneNumber must be like +49.3012345678"),
        ({"CountryCode": "Germany"}, "allowed: two capital letters"),
        ({"OrganizationName": ""}, "OrganizationName is missing"),
        ({"Emial": "x"}, "Emial"),
    ],
)
def test_a_wrong_contact_is_told_by_its_field(
    bench: Callable[..., Bench], owner: dict[str, str], said: str
) -> None:
    done = line(bench, **owner).run("domain")
    assert done.returncode == 2 and said in done.stderr, done.stderr


def test_a_reserved_name_is_told(bench: Callable[..., Bench]) -> None:
    done = line(bench, domain="kino.test").run("domain")
    assert done.returncode == 0 and "test is reserved (RFC 6761)" in done.stdout
    done = line(bench, "None", domain="kino.test").run("domain")
    assert done.returncode == 2 and "not to be registered" in done.stderr
