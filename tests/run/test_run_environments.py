"""Lines start where little is as on a developer's machine: containers, cron, CI, shells of other countries."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable

import pytest

from workbench import HELLO, TIERLINE, Bench

STACK = """
from tierline import Bucket, Cache, Gateway, HTTPCache, LoadBalancer, Queue, Relational, Service, Stack
uses = [Relational("films"), Cache("hot"), Queue("jobs"), Bucket("pictures")]
stack = Stack("odd", lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(), zones=["a"],
              services=[Service("hello", "hello:app", uses=uses, expose=["/"])])
"""


@pytest.mark.parametrize("name", ["a[1]", "b c", "d%e", "f;g", "h{i}"])
def test_a_folder_that_some_engine_can_not_name_is_refused_before_anything_starts(
    bench: Callable[..., Bench], name: str
) -> None:
    """Valkey takes brackets for a pattern, finds no such file, and starts with its defaults: a port that all know."""
    line = bench(STACK, name=name, hello=HELLO)
    done = line.run("up", "--detach")
    assert done.returncode == 2 and "can't be named in the configuration of every engine" in done.stderr
    assert not line.left()


@pytest.mark.parametrize(("umask", "lineup"), [(0o000, "embedded"), (0o077, "alternate")])
def test_without_a_home_a_locale_and_many_files_in_a_folder_of_any_script(
    bench: Callable[..., Bench], umask: int, lineup: str
) -> None:
    line = bench(STACK, name="jörg-日本-🎬&b,c@d+e|g<h>i:j", hello=HELLO)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def narrow() -> None:
        os.umask(umask)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    done = subprocess.run(
        [*TIERLINE, "up", "--detach", str(line.folder), "--lineup", lineup], capture_output=True, text=True, check=False,
        timeout=120, preexec_fn=narrow, env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TMPDIR": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert hard == 1024 or "a process may have 1024 files open here" in done.stderr
    assert line.trip("/")["status"] == 200
    assert not line.state.stat().st_mode & 0o077, "others may look in"


def test_too_few_files_are_told_before_anything_starts(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, hello=HELLO)
    done = subprocess.run(
        [*TIERLINE, "up", "--detach", str(line.folder)], capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "a process may have 512 files open here, and engines need 1024" in done.stderr
    assert line.left() == []
