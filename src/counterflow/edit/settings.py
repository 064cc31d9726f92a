"""What decides a result, checked before any model loads (this file imports no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from textwrap import shorten
from typing import Any, TypeVar

from counterflow.controls.align import spelled
from counterflow.errors import InputError

COMPENSATE = ("source", "both", "none")
S = TypeVar("S", bound="_Settings")
LEVELS = ("token", "word")
SOLVERS = ("euler", "ddim")
Window = float | tuple[float, float]
"""A share of the steps from the noise end, or from which share to which; see `flow.within`."""
WordWindows = Mapping[str, Window] | tuple[tuple[str, Window], ...]
ATTENTION_TOKENS = ("image", "text", "both")


@dataclass(frozen=True)
class _Settings:
    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[S], data: dict[str, Any]) -> S:
        """The settings that `to_dict` wrote; InputError for an unknown name."""
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise InputError(f"unknown setting {', '.join(sorted(unknown))}")
        return cls(**{name: _frozen(value) for name, value in data.items()})


@dataclass(frozen=True)
class InvertSettings(_Settings):
    """How a picture is inverted. Defaults are the paper's (FTEdit, arXiv 2411.15843).

    The cost is `steps * (iterations + 1)` forwards at guidance 1, twice that at any other.
    """

    steps: int = 30
    """N, intervals of the grid."""
    iterations: int = 3
    """I, fixed-point iterations; 0 is Euler inversion."""
    average: bool = True
    """Step with the mean of the iterates' velocities (the stable velocity), not the last one."""
    window: tuple[int, int] | None = None
    """First and last evaluation that the mean takes in; default all of 0…iterations."""
    guidance: float = 1.0
    """Classifier-free guidance while inverting."""
    solver: str = "euler"
    """`euler`, or `ddim` on the path of equal signal-to-noise; the iterations refine either."""

    def __post_init__(self) -> None:
        _integer("steps", self.steps, 1, 1000)
        _integer("iterations", self.iterations, 0, 1000)
        _number("guidance", self.guidance, 0, 100)
        _choice("solver", self.solver, SOLVERS)
        if self.solver == "ddim" and self.steps < 2:
            raise InputError("ddim inverts in two steps or more, not 1")
        if not isinstance(self.average, bool):
            raise InputError(f"average is true or false, not {self.average!r}")
        if self.window is not None:
            _numbers("window", self.window)
            if len(self.window) != 2 or not self.window[0] <= self.window[1] <= self.iterations:
                raise InputError(
                    f"window is the first and last of the evaluations 0 to {self.iterations}, "
                    f"not {self.window}"
                )


@dataclass(frozen=True)
class EditSettings(_Settings):
    """How a target is made from an inversion. Defaults are the paper's, but for `text_padding`."""

    guidance: float = 2.0
    """Classifier-free guidance of the target."""
    text_ratio: Window = 1.0
    """Share of steps, from the noise end, in which the text control is on; or a (from, to)."""
    text_words: WordWindows = ()
    """Words of the source prompt with a window of their own, as {"wooden": 0.4}."""
    text_level: str = "token"
    """`token` or `word`: whether a token counts as unchanged by itself or only with its word."""
    text_padding: bool = False
    """Whether the text control holds padding too. It says nothing, but models keep things in it."""
    text_blocks: tuple[int, ...] | None = None
    """Blocks in which the text control is on; default all."""
    attention_ratio: Window = 0.0
    """Share of steps, from the noise end, in which attention features are injected; or a window."""
    attention_parts: tuple[str, ...] = ("v",)
    """Which of q, k, v are injected."""
    attention_tokens: str = "image"
    """`image`, `text` or `both`: whose features; text features only for unchanged tokens."""
    attention_blocks: tuple[int, ...] | None = None
    """Blocks in which attention features are injected; default all."""
    skip_steps: int = 0
    """Start both branches at this step of the trajectory. Windows count true steps."""
    compensate: str = "source"
    """`source`, `both` or `none`: which branches get the velocity compensation of stage II."""
    exact_background: bool = False
    """Outside a mask, give the picture's own pixels instead of the autoencoder's of them."""

    def __post_init__(self) -> None:
        _number("guidance", self.guidance, 0, 100)
        _window("text_ratio", self.text_ratio)
        _window("attention_ratio", self.attention_ratio)
        object.__setattr__(self, "text_words", _windows("text_words", self.text_words))
        for name in ("exact_background", "text_padding"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is true or false, not {getattr(self, name)!r}")
        _integer("skip_steps", self.skip_steps, 0, 999)
        _choice("text_level", self.text_level, LEVELS)
        _choice("attention_tokens", self.attention_tokens, ATTENTION_TOKENS)
        _choice("compensate", self.compensate, COMPENSATE)
        if not isinstance(self.attention_parts, tuple) or not self.attention_parts:
            raise InputError(f"attention_parts are some of q, k, v, not {self.attention_parts!r}")
        for part in self.attention_parts:
            _choice("attention_parts", part, ("q", "k", "v"))
        for name in ("text_blocks", "attention_blocks"):
            if getattr(self, name) is not None:
                _numbers(name, getattr(self, name))

    @property
    def word_windows(self) -> dict[str, Window]:
        """`text_words` by word, in lower case."""
        return dict(self.text_words)

    def check_words(self, source: str, target: str) -> None:
        """InputError for a word with a window that the prompts do not both say."""
        shared = {*spelled(source)} & {*spelled(target)}
        for word in self.word_windows:
            if word not in shared:
                raise InputError(
                    f"a window is given for {word!r}, which {shorten(target, 60)!r} and the "
                    "source do not both say"
                )

    def check(self, steps: int) -> None:
        """Against the inversion's steps: InputError when every step would be skipped."""
        if self.skip_steps >= steps:
            raise InputError(f"skip_steps {self.skip_steps} leaves none of the {steps} steps")


def check_seed(seed: int) -> None:
    """Refuse what no generator takes as a seed."""
    _integer("seed", seed, 0, 2**63 - 1)


def check_generate(
    steps: int,
    guidance: float,
    seed: int,
    width: int | None,
    height: int | None,
    solver: str = "euler",
) -> None:
    """Refuse what `Editor.generate` could not do; InputError says what it takes."""
    check_seed(seed)
    _integer("steps", steps, 1, 1000)
    _number("guidance", guidance, 0, 100)
    _choice("solver", solver, SOLVERS)
    for name, value in (("width", width), ("height", height)):
        if value is not None:
            _integer(name, value, 16, 8192)


def _integer(name: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} is a whole number from {low} to {high}, not {value!r}")


def _number(name: str, value: Any, low: float, high: float) -> None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not low <= value <= high:
        raise InputError(f"{name} is a number from {low:g} to {high:g}, not {value!r}")


def _window(name: str, value: Any) -> None:
    """A share of the steps, or two of them in order."""
    if not isinstance(value, tuple):
        return _number(name, value, 0, 1)
    for share in value:
        _number(name, share, 0, 1)
    if len(value) != 2 or value[0] > value[1]:
        raise InputError(f"{name} is a share of the steps, or from which to which, not {value}")


def _windows(name: str, value: Any) -> tuple[tuple[str, Window], ...]:
    """Words and their windows, in lower case and in order."""
    pairs = value.items() if isinstance(value, Mapping) else value
    try:
        known = {str(word).lower(): window for word, window in pairs}
    except (TypeError, ValueError):
        raise InputError(
            f"{name} gives words windows, as {{'wooden': 0.4}}, not {value!r}"
        ) from None
    for word, window in known.items():
        _window(f"{name}: the window of {word!r}", window)
    return tuple(sorted(known.items()))


def _frozen(value: Any) -> Any:
    """Lists, as JSON gives them, as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _numbers(name: str, value: Any) -> None:
    whole = isinstance(value, tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value
    )
    if not whole:
        raise InputError(f"{name} is a tuple of whole numbers from 0, not {value!r}")


def _choice(name: str, value: Any, options: tuple[str, ...]) -> None:
    if value not in options:
        raise InputError(f"{name} is one of {', '.join(options)}, not {value!r}")
