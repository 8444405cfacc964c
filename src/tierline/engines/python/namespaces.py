"""Modules that several applications of a process share, where their environments differ.

Two services often import one settings module, and that reads `os.environ` while it is imported. Imported once, it
would give the second application the first one's database. So while applications are loaded it is noted which
modules of the project read a variable that is contested (the applications have different values), and who imports
those; each application gets copies of its own of them, and only of them. Everything else is shared as ever.

Limits: `importlib.import_module` in a request, and `pickle` by name, find the first application's copy.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_MARK = "__tierline_app__"


def contested(environments: Iterable[Mapping[str, str]]) -> set[str]:
    """Variables to which two of the environments give different values, or only one of them a value."""
    listed = list(environments)
    names = {name for each in listed for name in each}
    return {name for name in names if len({each.get(name) for each in listed}) > 1}


class Namespaces:
    """Copies of modules by application. `loading` around the import of each, `settle` after the last."""

    def __init__(self, project: str, contested: set[str]) -> None:
        self._root = os.path.join(project, "")  # noqa: PTH118
        self._contested = contested
        self._readers: dict[str, set[str]] = {}
        """Module → contested variables that it read while it was imported."""
        self._imports: dict[str, set[str]] = {}
        self._copies: dict[str, dict[str, ModuleType]] = {}
        """Application → name → its copy of a module that depends on its environment."""

    @contextmanager
    def loading(self, app: str) -> Iterator[None]:
        """The imports of one application."""
        if not self._contested:
            yield
            return
        for name in self._tainted():
            self._put(name, None)
        real_import, real_get = builtins.__import__, os._Environ.__getitem__
        before = set(sys.modules)

        def noted(
            name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
        ) -> ModuleType:
            module = real_import(name, globals, locals, fromlist, level)
            importer = (globals or {}).get("__name__")
            if importer and self._own(sys.modules.get(importer)):
                self._note(importer, _absolute(name, globals, level), fromlist or ())
            return module

        def read(environ: Any, name: str) -> str:
            if name in self._contested:
                self._read(name)
            return str(real_get(environ, name))

        builtins.__import__ = noted
        os._Environ.__getitem__ = read  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            builtins.__import__ = real_import
            os._Environ.__getitem__ = real_get  # type: ignore[method-assign]
        for name in set(sys.modules) - before:
            if self._own(module := sys.modules[name]):
                module.__dict__.setdefault(_MARK, app)
        self._copies[app] = {name: sys.modules[name] for name in self._tainted() if name in sys.modules}

    def settle(self) -> dict[str, list[str]]:
        """After the last application: the modules of which several have copies, with the variables they read."""
        first: dict[str, ModuleType] = {}
        several: set[str] = set()
        for copies in self._copies.values():
            for name, module in copies.items():
                if first.setdefault(name, module) is not module:
                    several.add(name)
        for name, module in first.items():
            self._put(name, module)
        if several:
            self._by_importer(several, first)
        return {name: sorted(self._readers.get(name, ())) for name in sorted(several)}

    def _by_importer(self, several: set[str], first: Mapping[str, ModuleType]) -> None:
        """Imports inside functions find the copy of the application that they belong to."""
        real_import = builtins.__import__
        tops = {name.partition(".")[0] for name in several}

        def chosen(
            name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
        ) -> ModuleType:
            app = globals.get(_MARK) if globals else None
            if app not in self._copies or _absolute(name, globals, level).partition(".")[0] not in tops:
                return real_import(name, globals, locals, fromlist, level)
            mine = {each: module for each, module in self._copies[app].items() if each in several}
            for each, module in mine.items():
                self._put(each, module)
            try:
                found = real_import(name, globals, locals, fromlist, level)
                # `from package import module` is looked up on the package only after this returns.
                return (
                    _Seen(found, mine)
                    if fromlist and any(found.__name__ + "." + n in mine for n in fromlist)
                    else found
                )
            finally:
                for each in mine:
                    self._put(each, first[each])

        builtins.__import__ = chosen

    def _note(self, importer: str, name: str, fromlist: Iterable[str]) -> None:
        wanted = {name, *(f"{name}.{each}" for each in fromlist)}
        while "." in name:
            name = name.rpartition(".")[0]
            wanted.add(name)
        self._imports.setdefault(importer, set()).update(each for each in wanted if each in sys.modules)

    def _read(self, variable: str) -> None:
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_name == "<module>":
                name = frame.f_globals.get("__name__", "")
                if self._own(sys.modules.get(name)):
                    self._readers.setdefault(name, set()).add(variable)
            if frame.f_back is None:
                return
            frame = frame.f_back

    def _tainted(self) -> list[str]:
        """Readers, who imports them, and what is inside of a package that is one of them; parents first."""
        found = set(self._readers)
        while True:
            more = {name for name, used in self._imports.items() if used & found} | {
                name for name in sys.modules if any(name.startswith(f"{each}.") for each in found)
            }
            if more <= found:
                return sorted(found)
            found |= more

    def _own(self, module: ModuleType | None) -> bool:
        file = getattr(module, "__file__", None)
        return isinstance(file, str) and file.startswith(self._root) and "site-packages" not in file

    def _put(self, name: str, module: ModuleType | None) -> None:
        """Make this the module of that name, or None: nobody is."""
        parent, _, child = name.rpartition(".")
        package = sys.modules.get(parent)
        if module is None:
            sys.modules.pop(name, None)
            if package is not None and child in vars(package):
                delattr(package, child)
            return
        sys.modules[name] = module
        if package is not None:
            setattr(package, child, module)


class _Seen(ModuleType):
    """A package as one application sees it: its own copies before those of the package."""

    def __init__(self, package: ModuleType, mine: Mapping[str, ModuleType]) -> None:
        super().__init__(package.__name__)
        self.__dict__["_package"] = package
        self.__dict__["_mine"] = mine

    def __getattr__(self, name: str) -> Any:
        package: ModuleType = self.__dict__["_package"]
        mine = self.__dict__["_mine"].get(f"{package.__name__}.{name}")
        return mine if mine is not None else getattr(package, name)


def _absolute(name: str, globals: Any, level: int) -> str:
    if not level:
        return name
    try:
        return importlib.util.resolve_name("." * level + name, (globals or {}).get("__package__"))
    except (ImportError, TypeError, ValueError):
        return name
