"""Whose code runs: an application of this process, by the stack or by the file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import Any, NamedTuple


class Blamed(NamedTuple):
    """app: "" when it can't be told. where: `file:line` below the project. function: what runs there."""

    app: str
    where: str
    function: str

    def __str__(self) -> str:
        return f"{self.where} (in {self.function})" if self.function else self.where


class Blame:
    """Knows the applications of a process: by the wrappers on the stack, else by who imported a file first."""

    def __init__(self, project: str) -> None:
        self._root = os.path.join(project, "")  # noqa: PTH118
        self._wrappers: set[CodeType] = set()
        self._owners: dict[str, str] = {}

    def wrapper(self, code: CodeType) -> None:
        """A frame of this code has a `self` with the application's `name`."""
        self._wrappers.add(code)

    def imported(self, app: str, files: Iterable[str]) -> None:
        """An application has imported these; what another had already is that one's."""
        for file in files:
            self._owners.setdefault(file, app)

    def owner(self, file: str) -> str:
        return self._owners.get(file, "")

    def own(self, file: str) -> bool:
        return file.startswith(self._root) and "site-packages" not in file

    def short(self, file: str) -> str:
        return file.removeprefix(self._root)

    def stack(self, frame: FrameType | None) -> Blamed:
        """Who is at work on a stack: the innermost application, and the innermost line of the project."""
        app, where, function = "", "", ""
        innermost = frame
        each = frame
        while each is not None:
            code = each.f_code
            if not where and self.own(code.co_filename):
                where, function = f"{self.short(code.co_filename)}:{each.f_lineno}", code.co_name
                owner = self.owner(code.co_filename)
            if not app and code in self._wrappers:
                wrapper: Any = each.f_locals.get("self")
                app = str(getattr(wrapper, "name", ""))
            each = each.f_back
        if not where and innermost is not None:
            code = innermost.f_code
            where, function, owner = f"{code.co_filename}:{innermost.f_lineno}", code.co_name, ""
        return Blamed(app or (owner if where else ""), where, function)
