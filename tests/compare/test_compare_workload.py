"""Workloads: from the stack, from a file, from an access log."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tierline import Service, Stack, Visit
from tierline.compare import workload
from tierline.errors import StackError


def test_the_same_seed_asks_the_same() -> None:
    visits = [Visit("/film/{1..500}", weight=3), Visit("/home", client="mobile")]
    one, other = (itertools.islice(workload.requests(visits, "eu-west-1", 7), 200) for _ in range(2))
    asked = list(one)
    assert [each.path for each in asked] == [each.path for each in other]
    assert len({each.path for each in asked}) > 50
    assert {each.headers["x-client"] for each in asked} == {"web", "mobile"}


def test_weights_are_kept_roughly() -> None:
    visits = [Visit("/often", weight=9), Visit("/seldom", weight=1)]
    asked = [each.path for each in itertools.islice(workload.requests(visits, "eu-west-1", 1), 2000)]
    assert 0.86 < asked.count("/often") / 2000 < 0.94


def test_an_access_log_becomes_a_workload(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    line = '127.0.0.1 - - [24/Nov/2026:08:00:00 +0000] "{} {} HTTP/1.1" {} 12 "-" "curl"\n'
    log.write_text(
        line.format("GET", "/a", 200) * 3 + line.format("GET", "/b?x=1", 304) + line.format("POST", "/c", 201)
        + line.format("GET", "/missing", 404)
    )  # fmt: skip
    assert {visit.path: visit.weight for visit in workload.of_file(log)} == {"/a": 3.0, "/b?x=1": 1.0}


def test_a_file_that_is_neither_says_what_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("nothing of the kind")
    with pytest.raises(StackError, match="neither a JSON list of visits nor an access log"):
        workload.of_file(path)


def test_without_a_workload_what_is_exposed_is_asked() -> None:
    stack = Stack("one", services=[Service("hello", "hello:app", expose=["/hello"])])
    assert [visit.path for visit in workload.of_stack(stack)] == ["/hello"]


def test_a_visit_with_a_mistake_is_told() -> None:
    with pytest.raises(StackError, match="a path that begins with /"):
        Visit("film")
