"""Rooms and the imports between them: downward only, and light at the top."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "counterflow"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

SHAPES = {f"toybox.{name}" for name in ("board", "scenery", "creature", "things")}
TOYBOX = SHAPES | {"toybox", "toybox.scene", "toybox.render", "toybox.captions"}
GROUND = {"errors", "files", "writing", "progress", "kinds", "settings", "flow", "prompts"}
GROUND |= {"images", "colours", "carriers", "outside"}
MODELS = {"backbones.families", "backbones.base", "backbones.hooks"}
BELOW_METHODS = GROUND | MODELS | {"solvers", "controls"}
BELOW_EDIT = BELOW_METHODS | {"backbones", "methods"}
BELOW_BENCH = BELOW_EDIT | TOYBOX | {"toybox.judge", "edit", "trust", "metrics", "sheet"}
BENCH_STORE = {f"bench.{name}" for name in ("figures", "stats", "sets", "results")}

# A room is a module or a package with all that is in it, less the rooms named further inside.
# It may import itself and the rooms listed for it, and nothing else of the package.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "progress": set(),
    "kinds": {"errors"},
    "settings": {"errors", "kinds"},
    "flow": {"errors", "kinds"},
    "writing": {"errors"},
    "carriers": {"errors", "kinds"},
    "colours": {"errors"},
    "images": {"errors", "outside", "writing", "colours", "carriers"},
    "metrics": {"errors"},
    "prompts": {"errors"},
    "outside": {"errors", "prompts"},
    "sheet": {"errors"},
    "toybox.scene": {"errors"},
    "toybox.board": {"errors"},
    "toybox.scenery": {"toybox.board"},
    "toybox.creature": {"toybox.board", "toybox.scene"},
    "toybox.things": {"toybox.board", "toybox.scene"},
    "toybox.render": SHAPES | {"toybox.scene"},
    "toybox.captions": {"toybox.scene"},
    "toybox.judge": {"errors", "toybox.board", "toybox.scene"},
    "toybox": {"errors", "flow", "images"} | TOYBOX,
    "toybox.train": {"errors", "flow", "prompts", "backbones", "toybox.judge"} | TOYBOX,
    "backbones.base": GROUND,
    "backbones.hooks": GROUND | {"backbones.base"},
    "backbones.sizes": set(),
    "backbones.families": {"backbones.sizes"},
    "backbones": GROUND | MODELS | {"toybox"},
    "solvers": {"errors", "flow"},
    "controls": GROUND | {"backbones.base", "backbones.hooks"},
    "methods": BELOW_METHODS,
    "edit": BELOW_EDIT | {""},
    "trust": BELOW_EDIT | {"edit", "metrics", "toybox.judge"},
    "bench": BELOW_BENCH,
    "bench.size": BELOW_BENCH | {"bench", "toybox.train"},
    "bench.stats": set(),
    "bench.files": {"errors"},
    "bench.figures": {"bench.stats"},
    "bench.sets": BELOW_BENCH | {"bench.files"},
    "bench.results": BELOW_BENCH | {"bench.figures"},
    "bench.engine": BELOW_BENCH | {"bench.sets"},
    "bench.workers": {"bench.engine", "batch"},
    "bench.run": BELOW_BENCH | BENCH_STORE | {"bench.engine", "bench.workers", "batch", ""},
    "bench.report": BELOW_BENCH | BENCH_STORE - {"bench.sets"},
    "bench.toy": BELOW_BENCH | {"bench.engine", "bench.sets"},
    "bench.tune": BELOW_BENCH | BENCH_STORE | {"bench.engine", "bench.files", "bench.report"},
    "bench.trust": BELOW_BENCH | {"bench.engine", "bench.sets", "bench.stats"},
    "bench.experiments": BELOW_BENCH
    | BENCH_STORE
    | {"bench.engine", "bench.run", "bench.report", "batch"},
    "batch": BELOW_BENCH | {""},
    # The package itself, whose public names are imported on first use.
    "": {"edit", "backbones", "toybox.scene"},
    "__main__": {"cli"},
}
BELOW_TOP = {*ROOMS} - {"__main__"}
ROOMS["cli"] = ROOMS["app"] = BELOW_TOP | {"cli", "app"}
ROOMS["plugins"] = BELOW_TOP

HEAVY = {"torch", "diffusers", "transformers", "gradio", "ray", "matplotlib", "jinja2"}


@cache
def modules() -> dict[str, Path]:
    """The package's modules by their name within it, "" being the package itself."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """The innermost room that a module is in; KeyError where the table has none."""
    name = module
    while name not in ROOMS:
        if "." not in name:
            raise KeyError(f"{PACKAGE}.{module} is in no room: give it one in ROOMS")
        name = name.rpartition(".")[0]
    return name


def imported(module: str, source: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of each import, wherever it stands and however it is spelled."""
    here = [PACKAGE, *filter(None, module.split("."))]
    if not is_package:
        here.pop()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            called = called.id if isinstance(called, ast.Name) else called
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def target_room(name: str) -> str | None:
    """The room that an imported name is in, or None where it is not the package's."""
    package, _, rest = name.partition(".")
    if package != PACKAGE:
        return None
    try:
        return room_of(rest)
    except KeyError:
        return ""  # a name of the package itself: from counterflow import Editor


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What a module imports though its room may not, a sentence each."""
    room = room_of(module)
    return [
        f"{module or PACKAGE}, line {line}: room {room!r} may not import {name} of room {target!r}"
        for line, name in imported(module, source, is_package)
        if (target := target_room(name)) is not None and target not in {room, *ROOMS[room]}
    ]


@pytest.mark.parametrize("module", modules())
def test_imports_point_downward(module: str) -> None:
    path = modules()[module]
    assert not violations(module, path.read_text("utf-8"), path.name == "__init__.py")


def test_the_table_names_only_rooms() -> None:
    assert not {name for allowed in ROOMS.values() for name in allowed} - set(ROOMS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("flow", "import counterflow.images"),
        ("flow", "from counterflow import images"),
        ("flow", "from counterflow import Editor"),
        ("flow", "import counterflow"),
        ("flow", "from . import images"),
        ("flow", "from .edit.editor import Editor"),
        ("flow", "from counterflow import *"),
        ("flow", "from importlib import import_module\nimport_module('counterflow.edit')"),
        ("flow", "import importlib\nimportlib.import_module('counterflow.edit')"),
        ("flow", "def late():\n    from counterflow.images import read"),
        ("flow", "class Late:\n    def late(self):\n        import counterflow.edit.editor"),
        ("flow", "try:\n    import counterflow.metrics\nexcept ImportError:\n    pass"),
        (
            "solvers.euler",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from counterflow.edit.editor import Editor",
        ),
        ("solvers.euler", "from ..edit import editor"),
        ("controls.text", "from counterflow.backbones.sd3 import SD3"),
        ("controls.text", "from counterflow.backbones import sd3"),
        ("controls.text", "from ..backbones import registry"),
        ("backbones.sd3", "from counterflow.edit.editor import Editor"),
        ("backbones.base", "from counterflow.backbones.sd3 import SD3"),
        ("metrics.psnr", "from counterflow.flow import Velocity"),
        ("solvers.euler", "from counterflow.controls.base import attach"),
        ("controls.text", "from counterflow.methods.run import Run"),
        ("methods.ftedit", "from counterflow.edit.editor import Editor"),
        ("methods.ftedit", "from counterflow.backbones.sd3 import SD3"),
        ("settings", "from counterflow.flow import Grid"),
        ("toybox.scene", "from counterflow.toybox.render import render"),
        ("toybox.cases", "from counterflow.edit.editor import Editor"),
        ("toybox.cases", "from counterflow.toybox.train import stage"),
        ("toybox.train.vae", "from counterflow.backbones.base import Backbone"),
        ("edit.editor", "from counterflow.bench.runner import run"),
        ("bench.runner", "from counterflow.batch.manifest import Manifest"),
        ("batch.manifest", "from counterflow.cli import main"),
        ("", "from counterflow.cli import main"),
        ("cli.edit", "from counterflow.plugins.diffusers import write_blocks"),
        ("plugins.comfyui", "from counterflow.cli.edit import edit"),
    ],
)
def test_the_walk_sees_a_violation(module: str, source: str) -> None:
    assert violations(module, source, is_package=module == "")


@pytest.mark.parametrize(
    ("module", "is_package", "source"),
    [
        ("flow", False, "import math, torch\nfrom .errors import CounterflowError"),
        ("flow", False, "import counterflow.errors\nimport counterflow_extras"),
        ("solvers.euler", False, "from counterflow.flow import Velocity\nfrom . import base"),
        ("solvers", True, "from .euler import Euler\nfrom ..flow import Velocity"),
        ("controls.text", False, "from counterflow.backbones import base"),
        ("toybox.cases", False, "from counterflow.toybox.edits import Change"),
        ("toybox.train.vae", False, "from counterflow.toybox.render import render\nimport torch"),
        ("edit.job", False, "from counterflow.backbones.sd3 import SD3"),
        ("methods.ftedit", False, "from counterflow.solvers.euler import Euler"),
        ("cli.edit", False, "from counterflow import Editor\nimport counterflow.app.page"),
        ("__main__", False, "from counterflow.cli import main"),
        ("", True, "from .edit.editor import Editor"),
    ],
)
def test_the_walk_lets_the_rest_pass(module: str, is_package: bool, source: str) -> None:
    assert not violations(module, source, is_package)


def module_of(name: str) -> str | None:
    """The module of ours that an imported name is in or is; the lazy package itself is none."""
    parts = name.split(".")[1:] if name.split(".")[0] == PACKAGE else []
    while parts and ".".join(parts) not in modules():
        parts.pop()
    return ".".join(parts) or None


def test_no_imports_go_in_a_circle() -> None:
    """Not even inside functions or for type checkers: a circle is one room in two files."""
    graph = {
        module: {
            target
            for _, name in imported(module, path.read_text("utf-8"), path.name == "__init__.py")
            if (target := module_of(name)) not in (None, module)
        }
        for module, path in modules().items()
        if module
    }
    order = TopologicalSorter(graph)
    order.prepare()  # raises CycleError, naming the circle


def test_a_module_without_a_room_is_refused() -> None:
    with pytest.raises(KeyError, match="utils is in no room"):
        violations("utils", "")


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.cli", f"{PACKAGE}.metrics"])
def test_importing_stays_light(module: str) -> None:
    """The package, its command line and the plain metrics load no heavy library until needed."""
    script = (
        f"import sys, {module}\n"
        f"assert {module}.__file__, 'an empty folder'\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_the_public_names_are_there() -> None:
    import counterflow

    assert set(counterflow.__all__) <= set(dir(counterflow))
    for name in counterflow.__all__:
        assert getattr(counterflow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        counterflow.absent  # noqa: B018
