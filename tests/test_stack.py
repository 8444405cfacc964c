"""A stack file becomes a Stack, or one clear message about what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tierline import (
    CDN,
    JWT,
    Bucket,
    Cache,
    Function,
    Gateway,
    Journey,
    LoadBalancer,
    Mail,
    Queue,
    Relational,
    Route,
    Service,
    Stack,
)
from tierline.errors import PlanError, StackError
from tierline.lineups import LINEUPS, choose
from tierline.plan.resolve import resolve
from tierline.stack import find, load

pytestmark = pytest.mark.usefixtures("imports")


def mistake(folder: Path, text: str, **files: str) -> str:
    """The message for a stack file with this text."""
    for name, more in files.items():
        (folder / f"{name}.py").write_text(dedent(more))
    (folder / "stack.py").write_text(dedent(text))
    with pytest.raises(StackError) as caught:
        load(folder)
    return str(caught.value)


# Finding and importing ---------------------------------------------------------------------------------------


def test_a_folder_without_a_stack_file_is_told_with_the_path_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        find(tmp_path)
    assert str(caught.value).startswith(f"no stack file at {tmp_path}/stack.py: name one, or make stack.py")


@pytest.mark.parametrize(
    ("name", "bytes_", "said"),
    [
        (
            "compose.yml",
            b"services: {}\n",
            "is no stack file: a stack is written in Python, in a file that ends in .py",
        ),
        ("stack", b"", "is no stack file: a stack is written in Python"),
        ("picture.py", b"\x89PNG\0\xff\xfe", "picture.py: SyntaxError: "),
        ("latin.py", b"x = '\xff'\n", "latin.py:1: SyntaxError: "),
        ("empty.py", b"", "the stack file has no Stack"),
        ("n" * 300 + ".py", None, "no stack file at "),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_whatever_is_named_in_place_of_a_stack_file_is_told_in_a_sentence(
    name: str, bytes_: bytes | None, said: str, tmp_path: Path
) -> None:
    if bytes_ is not None:
        (tmp_path / name).write_bytes(bytes_)
    with pytest.raises(StackError) as caught:
        load(tmp_path / name)
    assert said in str(caught.value).splitlines()[0]


def test_a_stack_is_found_by_folder_by_file_and_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stack.py"
    file.write_text("from tierline import Stack\nline = Stack('shop')\n")
    monkeypatch.chdir(tmp_path)
    for target in (tmp_path, file, None, "."):
        stack, path = load(target)
        assert (stack.name, path) == ("shop", file)


def test_a_stack_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("from tierline import Cache\nhot = Cache('hot')\n")
    (tmp_path / "stack.py").write_text(
        "from parts import hot\nfrom tierline import *\nstack = Stack('shop', services=[Service('a', 'a:a', uses=[hot])])\n"
    )
    stack, _ = load(tmp_path)
    assert [each.name for each in stack.resources] == ["hot"]


def test_of_several_stacks_the_one_called_stack_is_meant(tmp_path: Path) -> None:
    (tmp_path / "stack.py").write_text(
        "from tierline import Stack\nold = Stack('old')\nstack = Stack('new')\n"
    )
    assert load(tmp_path)[0].name == "new"


def test_a_syntax_error_shows_the_users_line_and_nothing_of_ours(tmp_path: Path) -> None:
    said = mistake(tmp_path, "from tierline import Stack\nstack = Stack('a'\n")
    assert said.splitlines()[0] == f"{tmp_path}/stack.py:2: SyntaxError: '(' was never closed"
    assert "stack = Stack('a'" in said
    assert "tierline/stack.py" not in said


def test_an_import_error_says_where_and_shows_the_users_own_frames(tmp_path: Path) -> None:
    said = mistake(tmp_path, "import parts\n", parts="import no_such_module\n")
    assert (
        said.splitlines()[0]
        == f"{tmp_path}/parts.py:1: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert f'File "{tmp_path}/stack.py", line 1' in said
    assert f'File "{tmp_path}/parts.py", line 1' in said
    assert "Traceback" not in said
    assert "src/tierline" not in said
    assert "importlib" not in said


def test_an_error_raised_inside_tierline_shows_only_the_users_frames(tmp_path: Path) -> None:
    said = mistake(tmp_path, "from tierline import Journey\nJourney(3, 4, nonsense=1)\n")
    assert f'File "{tmp_path}/stack.py", line 2' in said
    assert "src/tierline" not in said


def test_a_misspelt_import_from_tierline_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    said = mistake(tmp_path, "from tierline import Relationl, Stack\n")
    assert "cannot import name 'Relationl' from 'tierline'" in said
    assert "did you mean 'Relational'?" in said.splitlines()[0]


def test_a_misspelt_name_of_tierlines_is_told_with_line_and_the_nearest_name(tmp_path: Path) -> None:
    said = mistake(
        tmp_path, "from tierline import *\nstack = Stack('a', dns=DNS('a.test', route=Latncy()))\n"
    )
    assert said.splitlines()[0].startswith(f"{tmp_path}/stack.py:2: NameError: name 'Latncy' is not defined")
    assert "id you mean" in said.splitlines()[0] and "'Latency'" in said.splitlines()[0]


def test_a_stack_file_that_exits_is_an_error(tmp_path: Path) -> None:
    assert "SystemExit: 3" in mistake(tmp_path, "raise SystemExit(3)\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "the stack file has no Stack; write `stack = Stack('name', …)`"),
        (
            "from tierline import Stack\na = Stack('a')\nb = Stack('b')\n",
            "has several (a, b) and none is called `stack`",
        ),
    ],
)
def test_a_file_without_one_clear_stack_is_told(tmp_path: Path, text: str, said: str) -> None:
    assert said in mistake(tmp_path, text)


def test_a_mistake_in_a_stack_file_names_its_file_and_line(tmp_path: Path) -> None:
    said = mistake(tmp_path, "from tierline import Stack\n\nstack = Stack('shop', gatewy=None)\n")
    assert said.startswith("Stack('shop'): has no field 'gatewy', did you mean 'gateway'? allowed: name, ")
    assert said.endswith(f"  at {tmp_path}/stack.py:3")


def test_a_mistake_in_a_neighbour_names_the_neighbour(tmp_path: Path) -> None:
    said = mistake(
        tmp_path, "import parts\n", parts="from tierline import Cache\n\n\nCache('hot', memry=1)\n"
    )
    assert said.endswith(f"  at {tmp_path}/parts.py:4")


# What a stack as a whole may say -----------------------------------------------------------------------------

A = Service("a", "a:app")


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("Service and Service are both called 'a'", {"services": [A, Service("a", "b:app")]}),
        (
            "Cache and Bucket are both called 'xyz'",
            {"services": [Service("a", "a:a", uses=[Cache("xyz"), Bucket("xyz")])]},
        ),
        (
            "Cache and Cache are both called 'x'",
            {
                "services": [
                    Service("a", "a:a", uses=[Cache("x")]),
                    Service("b", "b:b", uses=[Cache("x", "1MiB")]),
                ]
            },
        ),
        (
            "Service and Function are both called 'a'",
            {"services": [A], "functions": [Function("a", "a:f", Queue("q"))]},
        ),
        (
            "services='gateway' is not allowed: a name that is not a tier's own",
            {"services": [Service("gateway", "a:a")]},
        ),
        (
            "uses='bb' is not allowed: a service of this stack, did you mean 'b'?",
            {"services": [Service("a", "a:a", uses=["bb"]), Service("b", "b:b")]},
        ),
        (
            "no dependency cycle, but there is one: a → b → a",
            {"services": [Service("a", "a:a", uses=["b"]), Service("b", "b:b", uses=["a"])]},
        ),
        ("no dependency cycle, but there is one: a → a", {"services": [Service("a", "a:a", uses=["a"])]}),
        (
            "no dependency cycle, but there is one: b → c → d → b",
            {
                "services": [
                    Service(n, "x:x", uses=[u]) for n, u in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"))
                ]
            },
        ),
        (
            "the JWT that is also the gateway's auth",
            {"services": [Service("a", "a:a", uses=[JWT("i", "a", ["/"])])], "gateway": Gateway()},
        ),
        ("zones=() is not allowed: at least one zone, each once", {"zones": []}),
        ("at least one zone, each once", {"zones": ["a", "a"]}),
        ("zones='Zone A' is not allowed: short names such as", {"zones": ["Zone A"]}),
        (
            "region='eu-west1' is not allowed: an AWS region, did you mean 'eu-west-1'?",
            {"region": "eu-west1"},
        ),
        (
            "CDN: places='us-east1' is not allowed: an AWS region, did you mean 'us-east-1'?",
            {"cdn": CDN(places=["us-east1"])},
        ),
        ("journeys='x' is not allowed", {"journeys": [Journey("x", "/x"), Journey("x", "/y")]}),
        ("tierline.Journey objects", {"journeys": ["home"]}),
        ("services='a' is not allowed: Service", {"services": ["a"]}),
        ("gateway=Cache(name='x') is not allowed: Gateway or None", {"gateway": Cache("x")}),
        ("has no field 'resources'", {"resources": []}),
    ],
)
def test_what_can_not_be_is_told(said: str, fields: dict[str, object]) -> None:
    with pytest.raises(StackError) as caught:
        Stack("shop", **fields)
    assert said in str(caught.value)
    assert str(caught.value).splitlines()[-1].startswith(f"  at {__file__}:")


def test_a_service_may_be_called_like_a_resource() -> None:
    orders = Queue("orders")
    stack = Stack("shop", services=[Service("orders", "a:a", uses=[orders])])
    assert stack.resources == (orders,)


def test_mail_of_a_balancer_is_a_resource_that_somebody_uses() -> None:
    post = Mail("post")
    with pytest.raises(StackError) as caught:
        Stack("shop", lb=LoadBalancer(mail="pots"), services=[Service("web", "web:app", uses=[post])])
    assert "mail='pots' is not allowed: a Mail resource that a service uses, did you mean 'post'?" in str(
        caught.value
    )
    Stack("shop", lb=LoadBalancer(mail="post"), services=[Service("web", "web:app", uses=[post])])


def test_resources_are_those_that_somebody_uses_in_order_of_first_use() -> None:
    hot, films, work = Cache("hot"), Relational("films"), Queue("work")
    stack = Stack(
        "shop",
        services=[Service("a", "a:a", uses=[films, hot]), Service("b", "b:b", uses=[hot])],
        functions=[Function("f", "f:f", work, uses=[films])],
    )
    assert [each.name for each in stack.resources] == ["films", "hot", "work"]


def test_building_a_stack_imports_no_engine_and_opens_nothing() -> None:
    script = (
        "import sys, tierline\n"
        "from tierline import *\n"
        "Stack('shop', dns=DNS('shop.test'), cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(),\n"
        "      services=[Service('a', 'no.such:app', uses=[Relational('r')])])\n"
        "heavy = ('asyncio', 'psutil', 'cryptography', 'granian', 'duckdb', 'httpx', 'uvloop', 'dns.message')\n"
        "print([each for each in heavy if each in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "granian" not in done.stdout
    assert "duckdb" not in done.stdout
    assert "cryptography" not in done.stdout
    assert "psutil" not in done.stdout


# Lineups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lineup", "uses", "said"),
    [
        ("embeded", (), "unknown lineup 'embeded', did you mean 'embedded'? there are: "),
        ("embedded", ("lb",), "--use 'lb': write SLOT=SYSTEM, e.g. --use lb=haproxy"),
        (
            "embedded",
            ("gatway=envoy",),
            "unknown tier 'gatway', did you mean 'gateway'? there are: analytics, cache",
        ),
    ],
)
def test_an_unknown_lineup_or_slot_is_told(lineup: str, uses: tuple[str, ...], said: str) -> None:
    with pytest.raises(PlanError) as caught:
        choose(lineup, uses)
    assert said in str(caught.value)


def test_an_unknown_system_is_told_with_the_nearest_and_what_there_is() -> None:
    with pytest.raises(PlanError) as caught:
        resolve(Stack("shop", gateway=Gateway(), services=[A]), choose("embedded", ["gateway=envoi"]))
    assert "unknown system 'envoi' for gateway, did you mean 'envoy'? gateway can be: envoy" in str(
        caught.value
    )


def test_a_system_of_the_table_without_a_provider_says_so() -> None:
    with pytest.raises(PlanError) as caught:
        resolve(Stack("shop", gateway=Gateway(), services=[A]), choose("embedded", ["gateway=apigee"]))
    assert "gateway=apigee is in the table of systems but isn't built yet; gateway can be: " in str(
        caught.value
    )


def test_a_use_replaces_one_word_of_the_lineup() -> None:
    assert choose("embedded", ["lb=envoy"]) == {**LINEUPS["embedded"], "lb": "envoy"}


# How fast ----------------------------------------------------------------------------------------------------


HEAVY = {
    "aiosmtpd", "asyncpg", "botocore", "cryptography", "duckdb", "dns", "granian", "httpx", "nats", "psutil", "pytz",
    "redis", "rich", "uvloop", "watchfiles",
}  # fmt: skip
"""Each is imported only by the command that uses it, so that the others begin at once; bench/ measures them."""


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter has after this."""
    said = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_tierline_imports_nothing_heavy() -> None:
    assert not HEAVY & imported("import tierline; tierline.Stack")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "sys.argv[1:] = ['--help']\nfrom tierline.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert not HEAVY & imported(code)


def test_two_services_that_expose_one_path_are_refused_unless_a_route_says_who_answers() -> None:
    first = Service("bikes", "bikes:app", expose=["/bikes", "/"])
    second = Service("rentals", "rentals:app", expose=["/bikes/"])
    with pytest.raises(
        StackError, match=r"Service\('rentals'\): expose='/bikes/' .* Service\('bikes'\) does"
    ):
        Stack("shop", services=[first, second])
    route = Route("/bikes", to="rentals")
    assert Stack("shop", services=[first, second], gateway=Gateway(routes=[route])).services == (
        first,
        second,
    )
