"""Two applications in one process that share modules which read the environment while they are imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tierline.engines.python.environment import environment
from tierline.engines.python.namespaces import Namespaces, contested

FILES = {
    "shop/__init__.py": "",
    "shop/settings.py": "import os\nURL = os.environ['SHOP_URL']\n",
    "shop/database.py": "from shop.settings import URL\nPOOL = ['pool', URL]\n",
    "shop/helpers.py": "import os\nREGION = os.environ.get('SHOP_REGION')\nSHARED = object()\n",
    "shop/one.py": (
        "from shop import helpers\nfrom shop import database\nfrom shop import settings\n"
        "def late():\n    from shop import settings as s\n    import shop.settings\n    from shop.settings import URL\n"
        "    from . import database as d\n    return s.URL, URL, d.POOL[1]\n"
    ),
    "shop/two.py": (
        "import shop.helpers as helpers\nimport shop.settings as settings\nfrom . import database\n"
        "def late():\n    from shop import settings as s\n    from .settings import URL\n    from . import database as d\n"
        "    return s.URL, URL, d.POOL[1]\n"
    ),
}  # fmt: skip
ENVIRONMENTS = {
    "one": {"SHOP_URL": "one's", "SHOP_REGION": "here"},
    "two": {"SHOP_URL": "two's", "SHOP_REGION": "here"},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import builtins

    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def loaded(project: Path) -> tuple[ModuleType, ModuleType, dict[str, list[str]]]:
    spaces = Namespaces(str(project), contested(ENVIRONMENTS.values()))
    found = []
    for name, variables in ENVIRONMENTS.items():
        with environment(variables), spaces.loading(name):
            found.append(importlib.import_module(f"shop.{name}"))
    return found[0], found[1], spaces.settle()


def test_each_application_has_its_own_settings_and_shares_the_rest(project: Path) -> None:
    one, two, copied = loaded(project)
    assert (one.settings.URL, two.settings.URL) == ("one's", "two's")
    assert (one.database.POOL, two.database.POOL) == (["pool", "one's"], ["pool", "two's"])
    assert one.helpers.SHARED is two.helpers.SHARED, "what doesn't depend on the environment is imported once"
    assert copied == {"shop.database": ["SHOP_URL"], "shop.settings": ["SHOP_URL"]}


def test_an_import_in_a_request_finds_the_same_copy(project: Path) -> None:
    one, two, _ = loaded(project)
    for _ in range(2):
        assert one.late() == ("one's", "one's", "one's")
        assert two.late() == ("two's", "two's", "two's")


def test_only_what_differs_is_contested() -> None:
    assert contested(ENVIRONMENTS.values()) == {"SHOP_URL"}
    assert contested([{"A": "1"}, {}]) == {"A"}
    assert contested([{"A": "1"}]) == set()
