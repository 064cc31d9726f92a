"""What the files of methods declare, read as text: nothing is imported, so that no torch loads.

Shell completion asks at every key. A class is looked up where `counterflow.methods.registry` says
it is, its bases by the imports of its file; `tests/test_completion.py` holds all this against the
classes themselves.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from counterflow import kinds
from counterflow.kinds import Kind
from counterflow.methods import registry


@dataclass(frozen=True)
class Written:
    """A setting as a file declares it."""

    name: str
    default: str
    """As `--set` takes it."""
    help: str


def settings(name: str) -> list[Written]:
    """The settings of a method, in order; none where its file cannot be read."""
    entry = registry.entry(name)
    fields: dict[str, Written] = {}
    for cls in _line(*entry.target.split(":")):
        for node in cls.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                call, field = node.value, node.target.id
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "setting":
                    value = entry.settings.get(field, _value(call.args[0]))
                    text = _kind(call.args[1]).write(value)
                    fields[field] = Written(field, text, str(_value(call.args[2])))
    return list(fields.values())


def title(name: str) -> str:
    """A method's title; empty where its file cannot be read."""
    entry = registry.entry(name)
    found = entry.title
    for cls in _line(*entry.target.split(":")) if not found else ():
        for node in cls.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "title":
                found = str(_value(node.value))
    return found


def _line(module: str, name: str) -> Iterator[ast.ClassDef]:
    """The class after all that it inherits from, as far as that is found."""
    nodes = _parsed(module).body
    imports = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in nodes:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for base in reversed(node.bases):
                inherited = ast.unparse(base)
                yield from _line(*imports.get(inherited, (module, inherited)))
            yield node


@cache
def _parsed(module: str) -> ast.Module:
    """A module's file; an empty one where there is none. Only its package is looked for."""
    package, *inside = module.split(".")
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders or ["."])), *inside).with_suffix(".py")
    return ast.parse(path.read_text("utf-8") if path.is_file() else "")


def _value(node: ast.expr) -> Any:
    """The value of a literal; what else is written there, as text."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _kind(call: ast.expr) -> Kind:
    """The kind that a call makes. Bounds and options that are no literals are wrong in it, but do
    not matter to how a value is written.
    """
    assert isinstance(call, ast.Call)
    kind: Kind = getattr(kinds, ast.unparse(call.func))(*map(_value, call.args))
    return kind
