"""Settings, each declared once: name, type, bounds, default and help (imports no torch).

    @dataclass(frozen=True)
    class Example(Settings):
        steps: int = setting(30, Integer(1, 1000), "Steps of the grid, N.")

Everything that shows or reads a setting is made from this declaration: the check of a value, the
command line's `--set steps=10`, the record in a PNG, and the documentation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from counterflow.errors import InputError
from counterflow.kinds import Kind, tuples

S = TypeVar("S", bound="Settings")


def setting(default: Any, kind: Kind, help: str) -> Any:
    """Declare a setting of a `Settings` class."""
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help})


@dataclass(frozen=True)
class Declared:
    """A setting as documentation and forms need it."""

    name: str
    default: Any
    kind: Kind
    help: str


@dataclass(frozen=True)
class Settings:
    """Base of what has settings: its fields are its settings, checked when it is made."""

    def __post_init__(self) -> None:
        for each in self.declared():
            value = each.kind.check(each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, value)

    @classmethod
    def declared(cls) -> list[Declared]:
        """Every setting, in order."""
        return list(_declared(dataclasses.fields(cls)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {each.name: getattr(self, each.name) for each in self.declared()}

    @classmethod
    def from_dict(cls: type[S], data: Mapping[str, Any]) -> S:
        """The settings that `to_dict` wrote, before or after JSON; InputError for another name."""
        cls._known(data)
        kinds = {each.name: each.kind for each in cls.declared()}
        return cls(**{name: kinds[name].check(name, tuples(data[name])) for name in data})

    def but(self: S, **changes: Any) -> S:
        """The same with some settings changed; InputError for a name or a value there is not."""
        self._known(changes)
        return dataclasses.replace(self, **changes)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> dict[str, Any]:
        """The values that texts mean, checked, by setting, as `--set steps=10` gives them."""
        cls._known(texts)
        kinds = {each.name: each.kind for each in cls.declared()}
        values = {name: kinds[name].parse(name, text) for name, text in texts.items()}
        return {name: kinds[name].check(name, value) for name, value in values.items()}

    @classmethod
    def _known(cls, names: Iterable[str]) -> None:
        names_declared = [each.name for each in cls.declared()]
        if unknown := sorted(set(names) - set(names_declared)):
            what = getattr(cls, "name", cls.__name__)
            raise InputError(
                f"{what} has no setting {', '.join(unknown)}; it has {', '.join(names_declared)}"
            )


@cache
def _declared(fields: tuple[dataclasses.Field[Any], ...]) -> tuple[Declared, ...]:
    return tuple(
        Declared(f.name, f.default, f.metadata["kind"], f.metadata["help"])
        for f in fields
        if "kind" in f.metadata
    )
