"""The loop and the run: rows in as few forwards as may be, counted, and equal to single ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from counterflow.backbones.base import ClassifierFree, Conditioning
from counterflow.controls.attention import AttentionControl
from counterflow.controls.features import Features
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.errors import InputError, NumericsError
from counterflow.flow import Latent, Step
from counterflow.methods import base
from counterflow.methods.base import Method
from counterflow.methods.registry import method
from counterflow.methods.run import Run as MethodRun
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, distance, hooks, inverted, noise, running

THREE = [*TARGETS, "a dog at night"]
CONTROLS = (TextControl(), AttentionControl(1.0, ("q", "v"), "both"))


@dataclass
class Watched:
    """A backbone whose forwards are noted: rows, noise level, rows of conditioning."""

    backbone: Any
    scale_is_told: bool = False

    def __post_init__(self) -> None:
        self.asked: list[tuple[int, float, int]] = []
        self.scales: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backbone, name)

    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        told = {len(each) for each in conditioning.tensors.values()}
        assert len(told) == 1
        self.asked.append((len(x), sigma, *told))
        return self.backbone.velocity(x, sigma, conditioning)

    def guidance(self, scale: float) -> Any:
        return Told(scale, self.scales) if self.scale_is_told else self.backbone.guidance(scale)


@dataclass(frozen=True)
class Told:
    """Guidance that the model is told, as Flux is: one forward at any scale."""

    scale: float
    scales: list[float]
    forwards, linear = 1, False

    def condition(self, conditioning: Conditioning) -> Conditioning:
        self.scales.append(self.scale)
        told = {name: each * self.scale for name, each in conditioning.tensors.items()}
        return replace(conditioning, tensors=told)

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        assert unconditional is None
        return conditional


@pytest.fixture(scope="module")
def known(one: Editor) -> Any:
    return inverted(one, steps=4)


def run_on(editor: Editor, inversion: Any, **options: Any) -> MethodRun:
    return running(editor, inversion, method("ftedit", steps=4), THREE, **options)


def asked(run: MethodRun, editor: Editor, step: Step, *order: str) -> dict[str, Tensor]:
    """Guided velocities of source, three targets and negative, asked for in an order."""
    with run.attached(CONTROLS, Features()):
        queries = {
            "source": run.of_source(noise(editor, 0), 3),
            "target": run.of_target(noise(editor, 1, rows=3), 2.5),
            "negative": run.of_negative(noise(editor, 2)),
        }
        made = run.velocities(step, *(queries[name] for name in order))
    return dict(zip(order, made, strict=True))


ORDER = ("source", "target", "negative")


# Rows


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 7, 8, 9])
def test_rows_together_are_rows_alone(editor: Editor, rows: int) -> None:
    """Source, targets and negative prompts under text and attention control: one forward, or any
    cut of it (through the targets, or between a target and its negative), is single forwards.
    """
    inversion = inverted(editor, steps=4)
    alone = asked(run_on(editor, inversion, rows=1), editor, Step(1, 4, 0.7), *ORDER)
    watched = Watched(editor.backbone)
    run = replace(run_on(editor, inversion, rows=rows), backbone=watched)
    together = asked(run, editor, Step(1, 4, 0.7), *ORDER)
    for name, single in alone.items():
        assert together[name].shape == single.shape and distance(together[name], single) <= 1e-5
    # source, targets and negative, then the negatives of the first two: 1 + 3 + 1 + 1 + 3
    assert [n for n, *_ in watched.asked] == [rows] * (9 // rows) + [9 % rows] * (9 % rows > 0)
    assert all(n == told for n, _, told in watched.asked)
    assert run.forwards == 9 and run.own == 6


def test_the_controls_matter_here(one: Editor, known: Any) -> None:
    """Without them the targets' velocities are others, the source's and the negative's are not."""
    with_, run = asked(run_on(one, known), one, Step(1, 4, 0.7), *ORDER), run_on(one, known)
    queries = run.of_source(noise(one, 0), 3), run.of_target(noise(one, 1, rows=3), 2.5)
    source, targets = run.velocities(Step(1, 4, 0.7), *queries)
    assert distance(source, with_["source"]) <= 1e-5
    assert all(distance(a, b) > 1e-3 for a, b in zip(targets, with_["target"], strict=True))


@pytest.mark.parametrize(
    "order",
    [("target", "source", "negative"), ("negative", "target", "source")],
    ids=str,
)
@pytest.mark.parametrize("rows", [1, 8, 9])
def test_the_order_of_queries_does_not_matter(
    one: Editor, known: Any, order: tuple[str, ...], rows: int
) -> None:
    """The source's rows go first, whatever was asked first, and answers come as asked."""
    expected = asked(run_on(one, known, rows=rows), one, Step(1, 4, 0.7), *ORDER)
    got = asked(run_on(one, known, rows=rows), one, Step(1, 4, 0.7), *order)
    for name in ORDER:
        assert distance(got[name], expected[name]) <= 1e-5


@pytest.mark.parametrize(
    "name", ["ftedit-attention", "ftedit-reference", "flowedit", "directedit", "midpoint"]
)
def test_an_edit_does_not_depend_on_how_many_rows_go_together(editor: Editor, name: str) -> None:
    """A whole edit of three targets: no forward is above `rows`, and the latents are equal."""
    made = {}
    for rows in (1, 3, 8):
        watched = Watched(editor.backbone)
        small = Editor(watched, rows)
        inversion = inverted_by(small, name)
        made[rows] = small.edit_batch(inversion, THREE, mask=None, seed=3)
        assert max(n for n, *_ in watched.asked) <= rows
        total = inversion.forwards + sum(edit.forwards for edit in made[rows])
        assert sum(n for n, *_ in watched.asked) == total
    for rows in (3, 8):
        for got, alone in zip(made[rows], made[1], strict=True):
            assert got.forwards == alone.forwards
            assert distance(got.latent, alone.latent) <= 1e-5


def inverted_by(editor: Editor, name: str) -> Any:
    return editor.invert(render(SCENE), SOURCE, name, steps=5)


def test_no_rows_are_refused(one: Editor) -> None:
    with pytest.raises(InputError, match="rows"):
        Editor(one.backbone, 0)


def test_what_is_not_wanted_is_not_asked(one: Editor, known: Any) -> None:
    """Its answer is None, and it costs nothing; nor does nothing at all."""
    watched = Watched(one.backbone)
    run = replace(run_on(one, known), backbone=watched)
    step, x = Step(0, 4, 1.0), noise(one, 0)
    source, target = run.velocities(
        step, run.of_source(x, 2, wanted=False), run.of_target(noise(one, 1, rows=3))
    )
    assert source is None and target.shape == (3, *x.shape[1:])
    assert run.velocities(step, run.of_source(x, wanted=False)) == [None]
    assert run.velocities(step) == []
    assert [n for n, *_ in watched.asked] == [3] and run.forwards == run.own == 3


# Guidance


@given(scale=st.floats(0, 20))
def test_classifier_free_guidance_is_its_formula(scale: float) -> None:
    """`u + scale * (c - u)` for two forwards; at 1 the conditional pass alone, bit for bit."""
    c, u = (torch.full((1, 1, 1, 2), value, dtype=torch.float64) for value in (3.0, -2.0))
    guidance = ClassifierFree(scale)
    assert guidance.forwards == (1 if scale == 1 else 2)
    if scale == 1:
        assert torch.equal(guidance(c, None), c)
    else:
        assert torch.allclose(guidance(c, u), torch.full_like(c, -2 + scale * 5), rtol=1e-9)


@pytest.mark.parametrize(("scale", "cost"), [(0.0, 2), (1.0, 1), (1, 1), (3.5, 2)])
def test_a_guided_velocity_costs_what_its_guidance_says(
    one: Editor, known: Any, scale: float, cost: int
) -> None:
    """Each branch's own; at 0 it is the negative prompt's velocity, at 1 the prompt's."""
    step, x = Step(2, 4, 0.5), noise(one, 5)
    embedded = {"source": known.conditioning, "negative": one.negative}
    for branch in ("source", "negative"):
        run = run_on(one, known)
        got = run.velocity(branch, scale)(x, step)
        assert run.forwards == cost and run.own == 0
        c, u = (one.backbone.velocity(x, 0.5, each) for each in (embedded[branch], one.negative))
        assert distance(got, u + scale * (c - u)) <= 1e-5
    run = run_on(one, known)
    run.velocity("target", scale)(noise(one, 6, rows=3), step)
    assert run.forwards == run.own == 3 * cost


def test_a_model_that_is_told_its_guidance_is_asked_once(one: Editor, known: Any) -> None:
    """One forward for each row at any scale, under the conditioning of that scale; a query's scale
    is its own, in the same forward.
    """
    watched = Watched(one.backbone, scale_is_told=True)
    run = replace(run_on(one, known), backbone=watched)
    step, x, y = Step(2, 4, 0.5), noise(one, 0), noise(one, 1, rows=3)
    source, targets = run.velocities(step, run.of_source(x, 1), run.of_target(y, 1.5))
    again = run.velocities(step, run.of_source(x, 2), run.of_target(y, 1.5))
    assert [n for n, *_ in watched.asked] == [4, 4] and run.forwards == 8 and run.own == 6
    assert set(watched.scales) == {1, 1.5, 2}

    def told(x: Tensor, conditioning: Conditioning, scale: float) -> Tensor:
        scaled = {name: each * scale for name, each in conditioning.tensors.items()}
        return one.backbone.velocity(x, 0.5, replace(conditioning, tensors=scaled))

    assert distance(source, told(x, known.conditioning, 1)) <= 1e-5
    assert distance(again[0], told(x, known.conditioning, 2)) <= 1e-5
    assert distance(source, again[0]) > 1e-4
    for row, target in enumerate(THREE):
        expected = told(y[row : row + 1], one.backbone.embed(target), 1.5)
        assert distance(targets[row : row + 1], expected) <= 1e-5


# Features


def test_two_evaluations_of_a_step_keep_two_features(editor: Editor) -> None:
    """By their number, at every site that a control wants; each serves its own targets."""
    inversion = inverted(editor, steps=4)
    run, features = run_on(editor, inversion), Features()
    step = inversion.trajectory.grid.step(1)
    first, second = step.at(0.7), step.at(0.6, 1)
    xs, y = (noise(editor, 0), noise(editor, 9)), noise(editor, 1, rows=3)
    with run.attached(CONTROLS, features):
        assert run.lacks(first) and run.lacks(second)
        together = []
        for each, x in zip((first, second), xs, strict=True):
            together.append(run.velocities(each, run.of_source(x), run.of_target(y))[1])
            run.session.features.end_step()
        assert not run.lacks(first) and not run.lacks(second) and run.lacks(step.at(0.7, 2))
        wanted = {
            s.name for s in editor.backbone.sites() if any(c.wants(s, step) for c in CONTROLS)
        }
        assert set(features.kept) == {(("edit", 1, e), name) for e in (0, 1) for name in wanted}
        for name in wanted:
            a, b = (features.kept[("edit", 1, e), name] for e in (0, 1))
            assert a.shape[0] == b.shape[0] == 1 and distance(a, b) > 0
        before = run.forwards
        for each, expected in zip((first, second), together, strict=True):
            (alone,) = run.velocities(each, run.of_target(y))
            assert distance(alone, expected) <= 1e-5
        (other,) = run.velocities(first, run.of_target(y, features=second))
        assert distance(other, together[0]) > 1e-4, "the features of another evaluation"
        assert run.forwards == before + 9


def test_features_beyond_the_budget_last_for_the_step(one: Editor, known: Any) -> None:
    """In later chunks of the same step they serve; after it they are gone, and none are kept."""
    run, features = run_on(one, known, rows=2), Features(budget=0)
    step, y = Step(1, 4, 0.7), noise(one, 1, rows=3)
    with run.attached(CONTROLS, features):
        run.velocities(step, run.of_source(noise(one, 0)), run.of_target(y))
        run.velocities(step, run.of_target(y))
        run.done(step)
        assert not features.kept and not features.passing
        with pytest.raises(RuntimeError, match="no source features at step 1"):
            run.velocities(step, run.of_target(y))
    assert hooks(one.backbone) == 0


@pytest.mark.parametrize("options", [{"text_ratio": 1.0}, {"attention_ratio": 1.0}], ids=str)
def test_features_recorded_while_inverting_serve_the_edit(
    editor: Editor, options: dict[str, Any]
) -> None:
    """DirectEdit asks for no source; where they were lost it does, and the edit is the same."""
    how = method("directedit", steps=5, **options)
    inversion = editor.invert(render(SCENE), SOURCE, how)
    kept = inversion.features.kept
    assert inversion.forwards == 5 and {key for key, _ in kept} == {
        ("invert", k, 0) for k in range(5)
    }
    edits = editor.edit_batch(inversion, THREE)
    assert [edit.forwards for edit in edits] == [10, 10, 10]
    inversion.features = Features()
    again = editor.edit_batch(inversion, THREE)
    assert [edit.forwards for edit in again] == [15, 10, 10]
    for a, b in zip(edits, again, strict=True):
        assert distance(a.latent, b.latent) <= 1e-5
    free = editor.edit(inversion, THREE[0], text_ratio=0.0, attention_ratio=0.0)
    assert distance(free.latent, edits[0].latent) > 1e-5


# The loop


@dataclass(frozen=True)
class Odd(Method):
    """Stays where it is, but for what a test has it do in a step."""

    name = "odd"
    at: int = 2
    what: str = ""

    def controls(self, run: Any, known: Any) -> Any:
        return CONTROLS

    def start(self, run: MethodRun, known: Any) -> tuple[Latent, Any, int]:
        return run.image, 0, 1

    def step(
        self, run: MethodRun, known: Any, x: Latent, state: int, step: Step
    ) -> tuple[Latent, int]:
        run.velocities(step, run.of_source(run.image), run.of_target(x))
        if step.index == self.at and self.what == "raise":
            raise ZeroDivisionError
        bad = float(self.what) if step.index == self.at and self.what else 0.0
        return x + bad, state + 1


def test_the_loop_keeps_every_latent(one: Editor, known: Any) -> None:
    """From where the method starts, a row for each target; the progress counts its steps."""
    told: list[tuple[str, int, int]] = []
    run = run_on(one, known, label="odd", progress=lambda *each: told.append(each))
    latents = base.edit(Odd(steps=4), run, known.trajectory)
    assert latents.shape == (4, 3, *known.image.shape[1:])
    assert torch.equal(latents, known.image.expand(4, 3, -1, -1, -1))
    assert told == [("odd", 1, 3), ("odd", 2, 3), ("odd", 3, 3)]
    assert run.forwards == 12 and run.own == 9


def test_controls_are_gone_after_an_error_in_a_step(one: Editor, known: Any) -> None:
    """Every hook, and the run is as it was before the edit."""
    run = run_on(one, known)
    before = run.session
    with pytest.raises(ZeroDivisionError):
        base.edit(Odd(steps=4, what="raise"), run, known.trajectory)
    assert hooks(one.backbone) == 0 and run.session is before
    assert base.edit(Odd(steps=4), run_on(one, known), known.trajectory).shape[0] == 4


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_latent_that_is_not_finite_is_named_with_its_step(
    one: Editor, known: Any, bad: str
) -> None:
    """And nothing stays behind."""
    for at in (1, 3):
        with pytest.raises(NumericsError, match=rf"step {at} of 4 \(edit\)"):
            base.edit(Odd(steps=4, at=at, what=bad), run_on(one, known), known.trajectory)
        assert hooks(one.backbone) == 0


def test_outside_a_mask_every_latent_is_the_sources(one: Editor, known: Any) -> None:
    """Of every target, after every step; inside it is the target's own."""
    mask = torch.zeros(1, 1, *known.image.shape[-2:])
    mask[..., :3, 2:] = 1
    latents = base.edit(Odd(steps=4), run_on(one, known, mask=mask), known.trajectory)
    inside = mask.bool().expand(3, known.image.shape[1], -1, -1)
    for n, x in enumerate(latents[1:], 2):
        stored = known.trajectory[n].expand_as(x)
        assert torch.equal(x[~inside], stored[~inside])
        assert torch.equal(x[inside], known.image.expand_as(x)[inside])


def test_noise_is_the_runs_seed(one: Editor, known: Any) -> None:
    """Drawn in order, of the picture's shape; a seed of its own is drawn apart."""
    a, b, c = (run_on(one, known, seed=seed) for seed in (4, 4, 5))
    first, apart, second = a.noise(), a.noise(4), a.noise()
    assert torch.equal(first, apart) and first.shape == known.image.shape
    assert torch.equal(b.noise(), first) and torch.equal(b.noise(), second)
    assert not torch.equal(first, second) and not torch.equal(c.noise(), first)
    for sigma in (0.0, 0.3, 1.0):
        expected = (1 - sigma) * known.image + sigma * first
        assert torch.equal(a.noised(first, sigma), expected)


def test_the_targets_are_as_many_as_their_rows(one: Editor, known: Any) -> None:
    """Another number of latents is an error, not a wrong batch."""
    run = run_on(one, known)
    with pytest.raises(Exception):  # noqa: B017 - of torch, or of a check before it
        run.velocities(Step(0, 4, 1.0), run.of_target(noise(one, 0, rows=2)))
