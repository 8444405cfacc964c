"""A folder whose name engines can't read in their configuration is refused before anything starts, and the name told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierline.errors import RunError
from tierline.run.state import State


@pytest.mark.parametrize("name", ["my films", "it's", "a;b", "{x}", "100%"])
def test_a_name_that_no_configuration_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="move the stack"):
        State(tmp_path / name / "stack.py").open()
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["films-2_1.0", "jörg", "a+b@c,d=e~f"])
def test_other_names_are_fine(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    state = State(tmp_path / name / "stack.py")
    state.open()
    state.close()
