"""Files stay small enough to be read at one sitting."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from counterflow.backbones.families import FAMILIES
from counterflow.methods.registry import METHODS

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ADAPTERS = sorted({family.adapter.partition(":")[0] for family in FAMILIES.values()})
TESTS = sorted((ROOT / "tests").glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_source_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_a_test_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_has_at_most_120_lines(name: str) -> None:
    """With its docstrings; a file may have two."""
    path = ROOT / "src" / (name.replace(".", "/") + ".py")
    assert len(path.read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_at_most_60_lines(name: str) -> None:
    """With its docstring; a step fits a screen."""
    method = METHODS[name].load()
    assert len(inspect.getsource(method).splitlines()) <= 60
    assert len(inspect.getsource(method.step).splitlines()) <= 30
