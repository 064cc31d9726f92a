"""Every method on a tiny model, and each against its own formula in plain loops."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import oracles
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.methods.registry import METHODS, method
from counterflow.toybox.render import render
from tools import MOVING, SCENE, SOURCE, TARGETS, by_hand, distance, hooks

TARGET = TARGETS[0]
BOTH = (SOURCE, TARGET)
INVERTING = [name for name in METHODS if method(name).inversion is not None]
every_method = pytest.mark.parametrize("name", METHODS)


def inverted(editor: Editor, name: str, steps: int = 5, **settings: Any) -> Inversion:
    return editor.invert(render(SCENE), SOURCE, few(name, steps, **settings))


def few(name: str, steps: int, **settings: Any) -> Method:
    return method(name, **{"steps": steps} | MOVING.get(name, {}) | settings)


def masked(name: str, picture: Image.Image) -> dict[str, Any]:
    """A mask for a method that needs one: all but the picture's left edge."""
    mask = np.ones(picture.size[::-1], bool)
    mask[:, :8] = False
    return {"mask": mask} if method(name).needs_mask else {}


def levels(editor: Editor, steps: int = 5) -> tuple[float, ...]:
    return editor.backbone.grid(steps, (64, 64)).sigmas


# All of them


@every_method
def test_a_method_edits_pictures_of_any_shape(one: Editor, name: str) -> None:
    """Finite, of the picture's size, changed by the prompt, the same again; no hook is left."""
    picture = render(SCENE).resize((96, 61))
    inversion = one.invert(picture, SOURCE, few(name, 4))
    made = one.edit_batch(inversion, TARGETS, seed=5, **masked(name, picture))
    for edit in made:
        assert torch.isfinite(edit.latent).all() and edit.image.size == picture.size
        assert edit.latent.shape == inversion.image.shape and edit.method == inversion.method
        assert distance(edit.latent, inversion.image) > 1e-3
    assert distance(made[0].latent, made[1].latent) > 1e-4
    fresh = one.invert(picture, SOURCE, few(name, 4))
    again = one.edit(fresh, TARGET, seed=5, **masked(name, picture))
    assert distance(again.latent, made[0].latent) <= 1e-5
    assert hooks(one.backbone) == 0


@every_method
def test_outside_a_mask_a_method_changes_nothing(one: Editor, name: str) -> None:
    """The latent outside is the picture's own, to the bit, for several targets too."""
    inversion = inverted(one, name, steps=4)
    mask = np.zeros((128, 128), bool)
    mask[:64, 32:] = True
    cells = torch.from_numpy(mask.reshape(8, 16, 8, 16).any((1, 3)))
    for edit in one.edit_batch(inversion, TARGETS, mask=mask):
        assert torch.equal(edit.latent[..., ~cells], inversion.image[..., ~cells])
        assert distance(edit.latent[..., cells], inversion.image[..., cells]) > 1e-3


@every_method
def test_a_method_follows_a_trajectory_or_says_that_it_cannot(one: Editor, name: str) -> None:
    """Of a generated picture; and its next turn works whether it does or not."""
    made = one.from_trajectory(*_generated(one))
    how, mask = few(name, 4), masked(name, made.picture)
    if how.inversion is None or how.follows:
        assert torch.isfinite(one.edit(made, TARGET, how, **mask).latent).all()
    else:
        with pytest.raises(InputError, match="recorded, not inverted"):
            one.edit(made, TARGET, how, **mask)
    first = inverted(one, name, steps=4)
    mask = masked(name, first.picture)
    edit = one.edit(first, TARGET, **mask)
    assert (edit.trajectory is not None) == (how.follows and how.inversion is not None)
    turn = one.after(first, edit)
    assert turn.forwards == 0 or not how.follows
    assert torch.isfinite(one.edit(turn, TARGETS[1], **mask).latent).all()


def _generated(editor: Editor) -> tuple[Any, str, Any]:
    picture, trajectory = editor.generate(SOURCE, steps=4, seed=3)
    return picture, SOURCE, trajectory


@pytest.mark.parametrize("name", INVERTING)
def test_a_picture_that_was_not_inverted_for_a_method_is_refused(one: Editor, name: str) -> None:
    """In one line that says what to do; so is the noise of a method that has none."""
    plain = inverted(one, "flowedit", steps=3)
    how = few(name, 3) if name in MOVING else name
    with pytest.raises(InputError, match=rf"flowedit inverts nothing.* {method(name).name}"):
        one.edit(plain, TARGET, how)
    other = inverted(one, "midpoint", steps=3)
    if name == "ode":  # takes the solver over
        assert one.edit(other, TARGET, name).method.solver == "midpoint"
    elif name == "rf-solver":  # whose rule that is: V of the source is made again
        again = one.edit(inverted(one, name, steps=3), TARGET)
        assert distance(one.edit(other, TARGET, name).latent, again.latent) <= 1e-5
    elif name != "midpoint":
        with pytest.raises(InputError, match="or invert again") as told:
            one.edit(other, TARGET, how)
        assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="or invert again"):
        one.edit(inverted(one, name, steps=3), TARGET, few(name, 4))
    with pytest.raises(InputError, match="inverts nothing"):
        one.reconstruct(plain)
    if not method(name).follows:
        with pytest.raises(InputError, match="other noise"):
            one.edit(inverted(one, name, steps=3), TARGET, noise=plain.image)


def test_a_variant_is_never_another_under_its_name(one: Editor) -> None:
    """What its name sets is not overruled by how the picture was inverted."""
    euler = inverted(one, "euler", steps=3)
    for name in ("ddim", "midpoint"):
        with pytest.raises(InputError, match="or invert again"):
            one.edit(euler, TARGET, name)
        with pytest.raises(InputError, match="or invert again"):
            one.edit(inverted(one, name, steps=3), TARGET, "euler")
    with pytest.raises(InputError, match="or invert again"):
        one.edit(inverted(one, "ftedit", steps=3), TARGET, "ftedit-2")
    assert one.edit(inverted(one, "ftedit-2", steps=3), TARGET, "ftedit").method.iterations == 2
    for name in ("ftedit-attention", "ftedit-padding", "fixed-point"):
        made = one.edit(inverted(one, "ftedit", steps=3, iterations=1), TARGET, name).method
        assert made == method(name, steps=3, iterations=1)


def test_unknown_methods_are_refused(one: Editor) -> None:
    """With the names there are."""
    for call in (
        lambda: registry.method("none"),
        lambda: registry.variant("none"),
        lambda: registry.from_record("none", {}),
        lambda: inverted(one, "none"),
        lambda: one.edit(inverted(one, "ode"), TARGET, "none"),
    ):
        with pytest.raises(InputError, match="no method 'none'; there are ftedit, ftedit-ref"):
            call()


def test_other_packages_add_methods(monkeypatch: pytest.MonkeyPatch, one: Editor) -> None:
    """By an entry point; they come after ours, cannot take a name of ours, and a broken one is
    refused when it is asked for.
    """
    group = registry.ENTRY_POINTS
    points = [
        EntryPoint("mine", "counterflow.methods.ode:ODE", group),
        EntryPoint("ftedit", "counterflow.methods.ode:ODE", group),
        EntryPoint("gone", "no_such_package:Method", group),
        EntryPoint("wrong", "counterflow.methods.ode:None_such", group),
    ]
    monkeypatch.setattr(
        registry, "entry_points", lambda *, group: [p for p in points if p.group == group]
    )
    assert list(registry.entries()) == [*METHODS, "mine", "gone", "wrong"]
    assert registry.method("mine", steps=3) == method("ode", steps=3)
    assert registry.method("ftedit").name == "ftedit"
    assert registry.variant("mine", {"steps": "3"}).name == "mine,steps=3"
    edit = one.edit(inverted(one, "mine", steps=3), TARGET)
    assert torch.isfinite(edit.latent).all()
    for name, reason in (("gone", "no_such_package"), ("wrong", "None_such")):
        with pytest.raises(InputError, match=f"cannot be loaded: .*{reason}"):
            registry.method(name)


# ODE


@pytest.mark.parametrize("rule", ["euler", "ddim", "midpoint"])
@pytest.mark.parametrize("guidances", [(1.0, 2.0), (2.5, 1.0)], ids=str)
def test_the_plain_edit_is_its_loop(
    editor: Editor, rule: str, guidances: tuple[float, float]
) -> None:
    """Up by the solver under the source prompt, down under the target's, each at its guidance."""
    up, down = guidances
    inversion = inverted(editor, rule, invert_guidance=up, guidance=down)
    got = editor.edit(inversion, TARGET)
    expected = oracles.ode(editor, inversion.image, levels(editor), BOTH, rule, guidances)
    assert distance(got.latent, expected) <= 2e-5
    per_step = 2 if rule == "midpoint" else 1
    assert inversion.forwards == 5 * per_step * (1 if up == 1 else 2)
    assert got.forwards == 5 * per_step * (1 if down == 1 else 2)
    other = oracles.ode(editor, inversion.image, levels(editor), BOTH, rule, (up, down + 0.5))
    assert distance(got.latent, other) > 1e-4


# FTEdit


@pytest.mark.parametrize(
    ("settings", "averaged"),
    [
        ({"iterations": 3}, (0, 1, 2, 3)),
        ({"iterations": 2, "average": False}, (2,)),
        ({"iterations": 3, "average_span": (1, 2)}, (1, 2)),
        ({"iterations": 1, "invert_guidance": 2.0}, (0, 1)),
        ({"iterations": 0}, (0,)),
    ],
    ids=str,
)
def test_ftedit_is_its_two_loops(
    editor: Editor, settings: dict[str, Any], averaged: tuple[int, ...]
) -> None:
    """Stage I in every latent, and the edit from there."""
    inversion = inverted(editor, "ftedit", **settings)
    latents = oracles.fixed_point(
        editor,
        inversion.image,
        levels(editor),
        SOURCE,
        settings["iterations"],
        averaged,
        settings.get("invert_guidance", 1),
    )
    for k, expected in enumerate(latents):
        assert distance(inversion.trajectory[k], expected) <= 1e-5
    got = editor.edit(inversion, TARGET, attention_ratio=0.4, guidance=3)
    assert distance(got.latent, by_hand(editor, inversion, TARGET, 3, text=5, values=2)) <= 5e-6


# FlowEdit


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"n_max": 5, "n_min": 0, "n_avg": 1},
        {"n_max": 4, "n_min": 0, "n_avg": 2},
        {"n_max": 4, "n_min": 2, "n_avg": 1},
        {"n_max": 6, "n_min": 2, "n_avg": 2},
        {"n_max": 3, "n_min": 3, "n_avg": 1},
        {"n_max": 99, "n_min": 0, "n_avg": 1},
    ],
    ids=str,
)
def test_flowedit_is_its_formula(one: Editor, fresh: bool, settings: dict[str, int]) -> None:
    """Each noise averaged over, the last steps sampled, whole guidances; and what that costs."""
    inversion = inverted(one, "flowedit", steps=6, fixed_noise=not fresh, **settings)
    assert inversion.trajectory is None and inversion.forwards == 0
    got = one.edit(inversion, TARGET, seed=11)
    made = [inversion.image, levels(one, 6), BOTH, 11]
    expected = oracles.flowedit(one, *made, fresh, **settings, guidances=(3.5, 13.5))
    assert distance(got.latent, expected) <= 1e-4
    steps = min(6, settings["n_max"])
    averaged = max(0, steps - settings["n_min"])
    assert got.forwards == 4 * settings["n_avg"] * averaged + 2 * (steps - averaged)
    made[-1] = 12
    other = oracles.flowedit(one, *made, fresh, **settings, guidances=(3.5, 13.5))
    assert distance(got.latent, other) > 1e-2, "of another seed"


@pytest.mark.parametrize("settings", [{}, {"n_avg": 2}, {"fixed_noise": True}], ids=str)
def test_flowedit_between_equals_gives_the_source_back(
    editor: Editor, settings: dict[str, Any]
) -> None:
    """Equal prompts at equal guidance differ in nothing; at another guidance they do."""
    inversion = inverted(editor, "flowedit", steps=6)
    how = method("flowedit", steps=6, **settings)
    same = editor.edit(inversion, SOURCE, how, guidance=3.5, source_guidance=3.5)
    assert distance(same.latent, inversion.image) <= 1e-5
    other = editor.edit(inversion, SOURCE, how, guidance=5, source_guidance=3.5)
    assert distance(other.latent, inversion.image) > 1e-3


def test_flowedit_in_a_batch_has_one_noise(one: Editor) -> None:
    """The source's velocity is shared, and so is the noise: targets are what they are alone."""
    inversion = inverted(one, "flowedit", n_avg=2)
    together = one.edit_batch(inversion, TARGETS, seed=3)
    for edit, target in zip(together, TARGETS, strict=True):
        assert distance(edit.latent, one.edit(inversion, target, seed=3).latent) <= 1e-4
    assert together[0].forwards - together[1].forwards == 5 * 2 * 2


# DirectEdit


def test_directedit_between_equals_gives_the_source_back(editor: Editor) -> None:
    """At guidance 1, for N forwards of the target alone."""
    inversion = inverted(editor, "directedit", steps=6)
    assert inversion.forwards == 6
    for settings in ({}, {"attention_ratio": 0.0}, {"text_ratio": 1.0, "attention_ratio": 1.0}):
        fresh = inverted(editor, "directedit", steps=6, guidance=1, **settings)
        edit = editor.edit(fresh, SOURCE)
        assert distance(edit.latent, fresh.image) <= 1e-5 and edit.forwards == 6
    drifted = editor.edit(inverted(editor, "euler", steps=6), SOURCE, guidance=1)
    assert distance(drifted.latent, inversion.image) > 1e-3, "which the plain edit does not"


@pytest.mark.parametrize(
    ("settings", "text", "values"),
    [
        ({"attention_ratio": 0.0}, 0, 0),
        ({}, 0, 1),
        ({"attention_ratio": 0.6, "guidance": 3.5}, 0, 3),
        ({"text_ratio": 0.5}, 2, 1),
        ({"text_ratio": 1.0, "attention_ratio": 1.0, "invert_guidance": 2.0}, 5, 5),
    ],
    ids=str,
)
def test_directedit_is_its_loop(
    editor: Editor, settings: dict[str, Any], text: int, values: int
) -> None:
    """`z += ds * v(z + change[k], s[k])`: V of all blocks and text of all but the last, by the
    features of the inversion's own evaluation, at `x[k + 1]`.
    """
    inversion = inverted(editor, "directedit", **settings)
    s, how, g = levels(editor), inversion.method, inversion.method.invert_guidance
    known = oracles.euler(editor, inversion.image, s, SOURCE, g)
    rows = oracles.published_rows(*map(editor.backbone.embed, BOTH))
    z = known[0]
    for k in range(5):
        v = oracles.controlled(
            editor,
            z + known[k + 1] - known[k],
            known[k + 1],
            s[k],
            BOTH,
            rows,
            range(2) if k < text else (),
            range(3) if k < values else (),
            how.guidance,
        )
        z = z + (s[k + 1] - s[k]) * v
    got = editor.edit(inversion, TARGET)
    assert distance(got.latent, z) <= 1e-5
    assert got.forwards == 10 and inversion.forwards == (5 if g == 1 else 10)


def test_settings_that_no_run_can_mean_are_refused() -> None:
    """FlowEdit samples no more steps than it makes; DDIM does not invert in one step."""
    for settings in ({"n_min": 20, "steps": 6}, {"n_max": 3, "n_min": 4}):
        with pytest.raises(InputError, match="n_min"):
            method("flowedit", **settings)
    with pytest.raises(InputError, match="two steps or more"):
        method("ddim", steps=1)


def test_an_uncompensated_reconstruction_is_the_solvers_own_way_back(one: Editor) -> None:
    inversion = inverted(one, "midpoint", steps=4)
    back = one.edit(inversion, SOURCE, guidance=1.0).latent
    landed = one.reconstruct(inversion, compensate=False).latent
    assert distance(landed, back) <= 1e-5
