"""Which parts each field of a view is made of, read from the view's source; and the view with some fields only.

A view whose function is assignments and one `return {…}` says itself what each field reads; `dict(title=…)` and a
TypedDict's `Card(title=…)` are such a dict too. So `?fields=` runs no more than that. Any other view is run whole, and its
answer is cut afterwards: what a dataclass or a model makes of its arguments, its source doesn't say.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import copy
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, is_typeddict

from tierline.journeys.negotiate import Tree, tree_of

_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
_SEES_ALL = {"locals", "vars", "dir", "eval", "exec"}
"""Functions that read local names without saying which."""


@dataclass(frozen=True, slots=True)
class Written:
    """A view's function that can be cut. fields: by field of the answer, the parameters that it reads."""

    function: types.FunctionType
    definition: ast.FunctionDef
    fields: dict[str, frozenset[str]]

    def paths(self, tree: Tree) -> tuple[str, ...] | None:
        """The fields that the source names among the wanted ones, or None where a wanted one isn't among them."""
        if not tree or not tree.keys() <= self.fields.keys():
            return None
        return tuple(sorted(_paths(_shown(self.definition), tree)))

    def only(self, paths: Iterable[str]) -> tuple[Callable[..., Any], frozenset[str]]:
        """The function that returns these fields, and the parameters that it reads. The others may be anything."""
        cut = copy.deepcopy(self.definition)
        _cut(_shown(cut), tree_of(paths))
        kept = cut.body[-1:]
        read = _names(kept[0])
        for statement in reversed(cut.body[:-1]):
            if _target(statement) in read:
                kept.insert(0, statement)
                read |= _names(statement)
        cut.body = kept
        made = _code(cut, self.function)
        assert made is not None
        cells = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in made.co_freevars)
        function = types.FunctionType(
            made, self.function.__globals__, self.function.__name__, self.function.__defaults__, closure
        )
        function.__kwdefaults__ = self.function.__kwdefaults__
        return function, frozenset(read)


@functools.lru_cache(maxsize=1024)
def source_of(function: Callable[..., Any]) -> Written | None:
    """The view's function as its source says it, or None where that says too little."""
    if not isinstance(function, types.FunctionType) or hasattr(function, "__wrapped__"):
        return None
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, ValueError, TypeError):
        return None
    definition = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(definition, ast.FunctionDef):
        return None
    ast.increment_lineno(definition, max(0, first - 1))
    definition.decorator_list = []
    # A file that was changed since it was imported, or a macro, says something else.
    made = _code(definition, function)
    code = function.__code__
    if made is None or (made.co_code, made.co_names, made.co_varnames) != (
        code.co_code, code.co_names, code.co_varnames,
    ):  # fmt: skip
        return None
    if ast.get_docstring(definition) is not None:
        del definition.body[0]
    if (
        definition.body
        and isinstance(returned := definition.body[-1], ast.Return)
        and returned.value is not None
    ):
        returned.value = _as_dict(returned.value, function)
    if not definition.body or not _straight(definition, set(code.co_varnames[: _count(code)])):
        return None
    keys = _fields(_shown(definition))
    if keys is None:
        return None
    found = Written(function, definition, {})
    parameters = set(code.co_varnames[: _count(code)])
    for key in keys:
        found.fields[key] = found.only([key])[1] & parameters
    return found


def _as_dict(value: ast.expr, function: types.FunctionType) -> ast.expr:
    """The expression with calls that only make a dict of their keywords, at its top and below it, as that dict."""
    if isinstance(value, ast.Call) and not value.args and isinstance(value.func, ast.Name):
        names = [each.arg for each in value.keywords]
        if None not in names and _makes_a_dict(value.func.id, function):
            keys: list[ast.expr | None] = [
                ast.copy_location(ast.Constant(each.arg), each.value) for each in value.keywords
            ]
            value = ast.copy_location(ast.Dict(keys, [each.value for each in value.keywords]), value)
    if isinstance(value, ast.Dict):
        value.values = [_as_dict(each, function) for each in value.values]
    return value


def _makes_a_dict(name: str, function: types.FunctionType) -> bool:
    """Whether a name that is no local one stands for `dict` or a TypedDict."""
    code = function.__code__
    if name in code.co_varnames or name in code.co_cellvars:
        return False
    if name in code.co_freevars:
        try:
            found = (function.__closure__ or ())[code.co_freevars.index(name)].cell_contents
        except ValueError:
            return False
    else:
        found = function.__globals__.get(name, getattr(builtins, name, None))
    return found is dict or is_typeddict(found)


def _shown(definition: ast.FunctionDef) -> ast.Dict:
    """The dict that it returns."""
    returned = definition.body[-1]
    assert isinstance(returned, ast.Return)
    assert isinstance(returned.value, ast.Dict)
    return returned.value


def _count(code: types.CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount


def _straight(definition: ast.FunctionDef, parameters: set[str]) -> bool:
    """Whether it is assignments, each name once, and one return of a dict; and each of its values is what it reads."""
    *before, last = definition.body
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Dict)):
        return False
    targets = [_target(statement) for statement in before]
    if "" in targets or len({*targets, *parameters}) < len(targets) + len(parameters):
        return False
    return not any(
        isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)
        or (isinstance(node, ast.Name) and node.id in _SEES_ALL)
        for node in ast.walk(definition)
    )


def _target(statement: ast.stmt) -> str:
    """The name that a statement only assigns, or ""."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
    else:
        return ""
    return target.id if isinstance(target, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    return {
        each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }


def _fields(shown: ast.Dict) -> dict[str, ast.expr] | None:
    """The values of a dict whose keys are all written down."""
    found = {}
    for key, value in zip(shown.keys, shown.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            return None
        found[key.value] = value
    return found if len(found) == len(shown.keys) else None


def _paths(shown: ast.Dict, tree: Tree) -> list[str]:
    found = []
    for name, value in (_fields(shown) or {}).items():
        if name not in tree:
            continue
        inner = tree[name]
        if inner is not None and isinstance(value, ast.Dict) and set(inner) <= set(_fields(value) or {}):
            found += [f"{name}.{path}" for path in _paths(value, inner)]
        else:
            found.append(name)
    return found


def _cut(shown: ast.Dict, tree: Tree) -> None:
    kept = [(key, value) for key, value in zip(shown.keys, shown.values, strict=True) if key.value in tree]  # type: ignore[union-attr]
    for key, value in kept:
        inner = tree[key.value]  # type: ignore[union-attr]
        if inner is not None:
            assert isinstance(value, ast.Dict)
            _cut(value, inner)
    shown.keys, shown.values = [key for key, _ in kept], [value for _, value in kept]


def _code(definition: ast.FunctionDef, like: types.FunctionType) -> types.CodeType | None:
    """The definition's code, with the same names from around it. Nothing is run."""
    around = ast.parse(f"def around({', '.join(like.__code__.co_freevars)}):\n  pass")
    outer = around.body[0]
    assert isinstance(outer, ast.FunctionDef)
    outer.body = [definition]
    try:
        flags = like.__code__.co_flags & _FUTURE
        made: Any = compile(around, like.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    for name in ("around", definition.name):
        made = next(
            (each for each in made.co_consts if isinstance(each, types.CodeType) and each.co_name == name),
            None,
        )
        if made is None:
            return None
    assert isinstance(made, types.CodeType)
    return made
