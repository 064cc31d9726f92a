"""Groups of settings that several methods have, with what is made of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, cast

from counterflow.backbones.base import ATTENTION, Backbone, Conditioning, block_count
from counterflow.backbones.families import FAMILIES, Feature
from counterflow.controls.align import Level, spelled
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.controls.rows import RowMap, row_map
from counterflow.controls.text import TextControl
from counterflow.errors import InputError
from counterflow.kinds import (
    Choice,
    Flag,
    Integer,
    Number,
    Numbers,
    Share,
    Some,
    Span,
    Window,
    Words,
    WordWindows,
)
from counterflow.methods.base import Inverting, Method
from counterflow.methods.run import Run
from counterflow.settings import setting
from counterflow.solvers.ddim import DDIM
from counterflow.solvers.euler import Euler
from counterflow.solvers.extrapolated import Extrapolated
from counterflow.solvers.fixed_point import FixedPoint


@dataclass(frozen=True)
class Skipping(Method):
    """An edit that starts at a later step than the first."""

    skip_steps: int = setting(0, Integer(0, 999), "Start at this step of the trajectory.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skip_steps >= self.steps:
            raise InputError(f"skip_steps {self.skip_steps} leaves none of the {self.steps} steps")

    @property
    def skipped(self) -> int:
        """As set."""
        return self.skip_steps


def check_solver(name: str, steps: int) -> None:
    """InputError for a solver that cannot invert in so few steps."""
    if name == "ddim" and steps < 2:
        raise InputError("ddim inverts in two steps or more, not 1")


def check_blocks(backbone: Backbone, wanted: Collection[int]) -> None:
    """InputError for blocks that a model lacks."""
    if wanted:
        blocks = block_count(backbone)
        if max(wanted) >= blocks:
            raise InputError(f"this model has blocks 0 to {blocks - 1}, not {max(wanted)}")


def check_sites(backbone: Backbone, method: str, *features: str) -> None:
    """InputError for a model without some attention features, as `image.k`."""
    there = {f"{site.stream}.{site.part}" for site in backbone.sites()}
    if missing := [name for name in features if name not in there]:
        raise InputError(f"{method} needs this model's {', '.join(missing)}, which are not open")


def check_feature(backbone: Backbone, method: str, feature: Feature) -> None:
    """InputError for a model of a family that lacks what a method needs."""
    family = FAMILIES.get(backbone.family)
    if family is not None and feature in family.lacks:
        hint = "; set text_ratio=0, without text_words" if feature == "modulated text" else ""
        raise InputError(f"{method} needs {feature}, which {family.title} lacks{hint}")


@dataclass(frozen=True)
class Iterated(Method):
    """An inversion refined by fixed-point iteration: `steps * (iterations + 1)` evaluations.

    `extrapolated` iterates in its first steps only: `steps + iterations * (iterations + 1) / 2`.
    """

    iterations: int = setting(
        3, Integer(0, 1000), "Fixed-point iterations, I; 0 is plain Euler or DDIM inversion."
    )
    average: bool = setting(
        True, Flag(), "Step with the mean of the iterates' velocities, not with the last one."
    )
    average_span: tuple[int, int] | None = setting(
        None, Span(), "First and last evaluation that the mean takes in, of 0 to I."
    )
    invert_guidance: float = setting(1.0, Number(0, 100), "Guidance while inverting.")
    solver: str = setting(
        "euler",
        Choice("euler", "ddim", "extrapolated"),
        "Inversion by Euler's or by DDIM's rule; extrapolated is Euler's with a first guess, which "
        "iterates in its first steps only and takes no mean.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_solver(self.solver, self.steps)
        if self.average_span is not None and self.average_span[1] > self.iterations:
            raise InputError(
                f"average_span is the first and last of the evaluations 0 to {self.iterations}, "
                f"not {self.average_span}"
            )
        if self.average_span is not None and self.solver == "extrapolated":
            raise InputError(
                "average_span is of no use with solver=extrapolated, which averages none"
            )

    @property
    def inversion(self) -> Inverting:
        """Stage I of FTEdit, or of DDIM, or ours."""
        if self.solver == "extrapolated":
            return Inverting(self.steps, Extrapolated(self.iterations), self.invert_guidance)
        rule = DDIM if self.solver == "ddim" else FixedPoint
        span = self.average_span or (0, self.iterations)
        refined = rule(self.iterations, self.average, span)
        plain = self.iterations == 0 and self.solver == "euler"
        return Inverting(self.steps, Euler() if plain else refined, self.invert_guidance)


@dataclass(frozen=True)
class Controlled(Method):
    """FTEdit's text control, and attention injection."""

    text_ratio: Window = setting(1.0, Share(), "Steps with the text control.")
    text_words: WordWindows = setting(
        (), Words(), "Windows of single words of both prompts, in place of text_ratio."
    )
    text_level: str = setting(
        "token", Choice("token", "word"), "A token is unchanged by itself, or with its whole word."
    )
    text_padding: bool = setting(False, Flag(), "The text control holds padding too.")
    text_blocks: tuple[int, ...] | None = setting(None, Numbers(), "Blocks with the text control.")
    attention_ratio: Window = setting(0.0, Share(), "Steps with attention injection.")
    attention_parts: tuple[str, ...] = setting(
        ("v",), Some(*ATTENTION), "Attention features that are injected."
    )
    attention_tokens: str = setting(
        "image",
        Choice("image", "text", "both", "all"),
        "Whose; text features of unchanged tokens, or with `all` of every row by position.",
    )
    attention_blocks: tuple[int, ...] | None = setting(
        None, Numbers(), "Blocks with attention injection."
    )

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """Both, as the settings have them."""
        return (
            TextControl(self.text_ratio, self.text_blocks, self._windows, self.text_padding),
            AttentionControl(
                self.attention_ratio,
                self.attention_parts,
                self.attention_tokens,
                self.attention_blocks,
            ),
        )

    @property
    def _windows(self) -> dict[str, Window]:
        return dict(cast("tuple[tuple[str, Window], ...]", self.text_words))

    def row_map(self, source: Conditioning, target: Conditioning) -> RowMap:
        """By token or by word."""
        return row_map(source, target, cast(Level, self.text_level))

    def check_model(self, backbone: Backbone) -> None:
        """Refuse blocks, or a text control, that the model lacks."""
        if any(window not in (0, (0, 0)) for window in (self.text_ratio, *self._windows.values())):
            check_feature(backbone, self.name, "modulated text")
        check_blocks(backbone, {*(self.text_blocks or ()), *(self.attention_blocks or ())})

    def check_prompts(self, source: str, target: str) -> None:
        """Refuse a window for a word that the prompts do not both say."""
        shared = {*spelled(source)} & {*spelled(target)}
        for word in dict(self.text_words):
            if word not in shared:
                raise InputError(
                    f"a window is given for {word!r}, which {shorten(target, 60)!r} and the "
                    "source do not both say"
                )
