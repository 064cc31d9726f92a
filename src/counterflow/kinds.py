"""The types that a setting can have: which values, and how they are written as text (no torch)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from counterflow.errors import InputError

Window = float | tuple[float, float]
"""A share of the steps from the noise end, or from which share to which; see `flow.within`."""
WordWindows = Mapping[str, Window] | tuple[tuple[str, Window], ...]


@runtime_checkable
class Kind(Protocol):
    """The type of a setting: which values it takes and how they are written as text."""

    def check(self, name: str, value: Any) -> Any:
        """The value, in its normal form. Raises InputError, naming the setting, for another."""
        ...

    def parse(self, name: str, text: str) -> Any:
        """The value that a text means; `check` is still to be called."""
        ...

    def write(self, value: Any) -> str:
        """A value as text, which `parse` reads."""
        ...

    @property
    def says(self) -> str:
        """Which values there are, for the help: "a whole number from 1 to 1000"."""
        ...


class _Kind:
    """What most kinds share: a text is JSON, or a bare word."""

    says = ""

    def parse(self, name: str, text: str) -> Any:
        try:
            return tuples(json.loads(text))
        except (ValueError, RecursionError):
            return text

    def write(self, value: Any) -> str:
        """As JSON, or a word itself."""
        return value if isinstance(value, str) else json.dumps(value)

    def wrong(self, name: str, value: Any) -> InputError:
        return InputError(f"{name} is {self.says}, not {value!r:.80}")


@dataclass(frozen=True)
class Integer(_Kind):
    """A whole number from `low` to `high`."""

    low: int
    high: int

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"a whole number from {self.low} to {self.high}"

    def check(self, name: str, value: Any) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not self.low <= value <= self.high:
            raise self.wrong(name, value)
        return int(value)


@dataclass(frozen=True)
class Number(_Kind):
    """A finite number from `low` to `high`."""

    low: float
    high: float

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"a number from {self.low:g} to {self.high:g}"

    def check(self, name: str, value: Any) -> float:
        if not _real(value) or not self.low <= value <= self.high:
            raise self.wrong(name, value)
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Flag(_Kind):
    """True or false."""

    says = "true or false"

    def check(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.wrong(name, value)
        return value


@dataclass(frozen=True)
class Choice(_Kind):
    """One of some words."""

    options: tuple[str, ...]

    def __init__(self, *options: str) -> None:
        object.__setattr__(self, "options", options)

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"one of {', '.join(self.options)}"

    def parse(self, name: str, text: str) -> Any:
        return text.strip()

    def check(self, name: str, value: Any) -> str:
        if value not in self.options:
            raise self.wrong(name, value)
        return str(value)


@dataclass(frozen=True)
class Some(_Kind):
    """Some of the options, as a tuple; written `k,v`. Without options any words or none."""

    options: tuple[str, ...]

    def __init__(self, *options: str) -> None:
        object.__setattr__(self, "options", options)

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"some of {', '.join(self.options)}" if self.options else "words, as cat,hat"

    def parse(self, name: str, text: str) -> Any:
        value = super().parse(name, text)
        return value if isinstance(value, tuple) else tuple(text.replace(",", " ").split())

    def write(self, value: Any) -> str:
        return ",".join(value)

    def check(self, name: str, value: Any) -> tuple[str, ...]:
        def one(each: Any) -> bool:
            word = isinstance(each, str) and bool(re.fullmatch(r"\w+(?:['’-]\w+)*", each))
            return each in self.options if self.options else word

        if not isinstance(value, tuple) or not all(map(one, value)) or (self.options and not value):
            raise self.wrong(name, value)
        return tuple(value)


@dataclass(frozen=True)
class Share(_Kind):
    """A window of the steps: a share from the noise end (`0.4`), or from and to (`0.2-0.8`)."""

    says = "a share of the steps from 0 to 1, as 0.4, or from which to which, as 0.2-0.8"

    def parse(self, name: str, text: str) -> Any:
        value = super().parse(name, text)
        if not isinstance(value, str):
            return value
        try:
            shares = [float(share) for share in re.split("(?<!e)-", value)]  # not that of 1e-05
        except ValueError:
            raise self.wrong(name, text) from None
        return shares[0] if len(shares) == 1 else tuple(shares)

    def write(self, value: Any) -> str:
        return "-".join(map(str, value if isinstance(value, tuple) else (value,)))

    def check(self, name: str, value: Any) -> Window:
        shares = value if isinstance(value, tuple) else (value,)
        if not all(_real(share) and 0 <= share <= 1 for share in shares):
            raise self.wrong(name, value)
        if isinstance(value, tuple) and (len(value) != 2 or value[0] > value[1]):
            raise self.wrong(name, value)
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Words(_Kind):
    """Windows of single words, `{"wooden": 0.4}`; written `wooden=0.4,red=0.2-0.8`."""

    says = "windows by word, as wooden=0.4,red=0.2-0.8"

    def parse(self, name: str, text: str) -> Any:
        value = super().parse(name, text)
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        if not all(word.strip() and equals for word, equals, _ in pairs):
            raise self.wrong(name, text)
        return {word.strip(): Share().parse(name, share) for word, _, share in pairs}

    def write(self, value: Any) -> str:
        return ",".join(f"{word}={Share().write(window)}" for word, window in dict(value).items())

    def check(self, name: str, value: Any) -> tuple[tuple[str, Window], ...]:
        """By word in lower case, in order."""
        pairs = value.items() if isinstance(value, Mapping) else value
        try:
            windows = {str(word).lower(): window for word, window in pairs}
        except (TypeError, ValueError):
            raise self.wrong(name, value) from None
        for word, window in windows.items():
            Share().check(f"{name}: the window of {word!r}", window)
        return tuple(sorted(windows.items()))


@dataclass(frozen=True)
class Numbers(_Kind):
    """Whole numbers from 0, as blocks of a model, or None; written `0-3,5` or `all`."""

    none: str = "all"
    """How None is written."""
    what: ClassVar[str] = "whole numbers from 0, as 0-3,5"
    most: ClassVar[int] = 10_000

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"{self.what}, or {self.none}"

    def parse(self, name: str, text: str) -> Any:
        if text.strip() in (self.none, "null"):
            return None
        value = super().parse(name, text)
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        try:
            for part in text.split(","):
                first, _, last = part.partition("-")
                numbers.extend(range(int(first), min(int(last or first), self.most) + 1))
        except ValueError:
            raise self.wrong(name, text) from None
        if not numbers:
            raise self.wrong(name, text)
        return tuple(numbers)

    def write(self, value: Any) -> str:
        return self.none if value is None else ",".join(map(str, value)) or "[]"

    def check(self, name: str, value: Any) -> tuple[int, ...] | None:
        if value is None:
            return None
        whole = isinstance(value, tuple) and all(
            isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value
        )
        if not whole:
            raise self.wrong(name, value)
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Span(Numbers):
    """The first and the last of some whole numbers, or None for all; written `1-3` or `all`."""

    what: ClassVar[str] = "the first and last of some whole numbers, as 1-3"

    def parse(self, name: str, text: str) -> Any:
        value = super().parse(name, text)
        return value if value is None or "[" in text else (value[0], value[-1])

    def write(self, value: Any) -> str:
        return "all" if value is None else f"{value[0]}-{value[1]}"

    def check(self, name: str, value: Any) -> tuple[int, int] | None:
        numbers = super().check(name, value)
        if numbers is not None and (len(numbers) != 2 or numbers[0] > numbers[1]):
            raise self.wrong(name, value)
        return numbers


def takes(kind: Kind, value: Any) -> bool:
    """Whether a value is one of a kind."""
    try:
        kind.check("", value)
    except InputError:
        return False
    return True


def _real(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -math.inf < value < math.inf  # isfinite overflows for a huge whole number


def tuples(value: Any) -> Any:
    """Lists, as JSON gives them, as tuples, all the way down."""
    if isinstance(value, dict):
        return {key: tuples(each) for key, each in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
