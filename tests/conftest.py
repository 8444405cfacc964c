"""What all tests share: golden files that can be regenerated, skips that count in CI, stacks in folders of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from waiting import PATIENCE
from workbench import Bench


def pytest_configure() -> None:
    """Lines that tests start act on every signal, also where the tests run in the background or under nohup.

    There SIGINT, SIGQUIT or SIGHUP is ignored, and what is ignored is inherited; what has a handler is at its default in
    a child. The handler does nothing: to these tests the signal means as little as before.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    # httpx gives up after 5 s unless told otherwise: that a machine is slow is no failure.
    for what in ("connect", "read", "write", "pool"):
        setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, what, PATIENCE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="Write the golden files anew.")
    parser.addoption("--again", type=int, default=0, metavar="N",
                     help="End with 75 when some, but at most N, failed: `make test` tries those once more, alone.")  # fmt: skip


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skip is a failure: what was not tried is not known to work."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    skipped, failed, errors = (len(reporter.stats.get(kind, [])) for kind in ("skipped", "failed", "error"))
    if skipped and os.environ.get("CI"):
        reporter.write_line(f"{skipped} skipped: in CI nothing may be skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif reporter.stats.get("passed") and 0 < failed + errors <= session.config.getoption("--again"):
        session.exitstatus = os.EX_TEMPFAIL


@pytest.fixture(scope="session")
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are written instead of compared."""
    return bool(request.config.getoption("--regenerate"))


@pytest.fixture
def golden(regenerate: bool) -> Callable[[Path, str], None]:
    """`golden(path, text)`: the text is what the file holds, byte for byte."""

    def check(path: Path, text: str) -> None:
        if regenerate:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"{path.name} is missing: pytest --regenerate writes it"
        assert text == path.read_text(), f"{path.name} differs: pytest --regenerate, then read the diff"

    return check


@pytest.fixture
def imports() -> Iterator[None]:
    """Stack files imported by a test leave nothing behind in this process."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith("tierline"):
            del sys.modules[name]
    sys.modules.pop("stack", None)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """`bench(stack_text, **files)`: a stack in a folder of its own; stopped afterwards, and nothing is left."""
    made: list[Bench] = []

    def make(stack: str, name: str = "", **files: str) -> Bench:
        made.append(Bench(tmp_path / (name or f"stack{len(made) or ''}"), stack, files))
        return made[-1]

    yield make
    for each in made:
        each.close()
