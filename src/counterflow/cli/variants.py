"""Which methods a command is to run, and with which settings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from counterflow.cli.options import pairs
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.methods.registry import Variant


def variants(
    chosen: list[str] | None, changes: list[str], tuned: Path | None, budget: int | None
) -> list[Variant]:
    """The chosen methods: with tuned settings, then those for all methods, then their own."""
    from counterflow.methods import registry

    found: dict[str, dict[str, str]] = {}
    if tuned is not None:
        from counterflow.bench.tune import record

        found = record.read(tuned, budget)
    elif budget is not None:
        raise InputError("--budget bounds the settings of --tuned: give that too")
    names = chosen or list(found) or ["ftedit"]
    if "all" in names:
        names = list(_all_that_load())
    if len(set(names)) < len(names):
        raise InputError("a --method is given twice; give each method once")
    for_all: list[str] = []
    for_one: dict[str, list[str]] = {name: [] for name in names}
    for change in changes:
        name, colon, setting = change.partition("=")[0].partition(":")
        if not colon:
            for_all.append(change)
        elif name in for_one:
            for_one[name].append(change.removeprefix(f"{name}:"))
        else:
            raise InputError(
                f"--set {name}:{setting} is for a method that is not run; add --method {name}"
            )
    shared, made = pairs(for_all), []
    for name in names:
        texts = found.get(name, {}) | shared | pairs(for_one[name])
        try:
            made.append(registry.variant(name, texts))
        except InputError as error:
            raise error if len(names) == 1 else InputError(f"{name}: {error}") from None
    return made


def _all_that_load() -> Iterator[str]:
    """Every method's name; of another package's that is not there it is said."""
    from counterflow.methods import registry

    for name, entry in registry.entries().items():
        try:
            entry.load()
        except InputError as error:
            warnings.warn(f"method {name} is left out: {error}", stacklevel=1)
        else:
            yield name
