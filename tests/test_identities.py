"""What published methods leave as it is: equal prompts, straight paths, no mask and a full one."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.methods.registry import METHODS, entry, method
from counterflow.toybox.render import render
from oracles import velocity
from tools import MOVING, SCENE, SOURCE, TARGETS, distance, hooks, running

PUBLISHED = (
    "sdedit",
    "rf-inversion",
    "rf-solver",
    "fireflow",
    "pmi",
    "pmi-euler",
    "uniedit",
    "flowalign",
    "dnaedit",
    "steerflow",
    "chordedit",
    "dvrf",
    "decflowedit",
    "decflowedit-short",
    "fusionedit",
    "consistedit",
    "kv-edit",
    "stable-flow",
)
every_published = pytest.mark.parametrize("name", PUBLISHED)


def inverted(editor: Editor, name: str, **settings: Any) -> Inversion:
    settings = {"steps": 5} | MOVING.get(name, {}) | settings
    return editor.invert(render(SCENE), SOURCE, name, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("flowalign", {}),
        ("flowalign", {"weight": 0.5, "guidance": 3.0}),
        ("dnaedit", {"eta": 1.0, "guidance": 1.0}),
        ("dnaedit", {"eta": 1.0, "guidance": 2.5, "source_guidance": 2.5, "skip_steps": 0}),
        ("dvrf", {"guidance": 6.0}),
        ("dvrf", {"guidance": 1.0, "source_guidance": 1.0, "drift": 0.0, "n_avg": 2}),
        ("decflowedit", {"source_guidance": 4.0, "guidance": 4.0}),
        ("decflowedit-short", {"source_guidance": 2.0, "guidance": 2.0, "n_avg": 2}),
        ("fusionedit", {"source_guidance": 2.0, "guidance": 2.0}),
        ("chordedit", {"last_sigma": 0}),
        ("chordedit", {"last_sigma": 0, "guidance": 4.0, "n_avg": 2}),
    ],
    ids=str,
)
def test_equal_prompts_give_the_source_back(
    editor: Editor, name: str, settings: dict[str, Any]
) -> None:
    """To rounding, beside another target too; and another prompt does not."""
    inversion = inverted(editor, name, **settings)
    same, other = editor.edit_batch(inversion, [SOURCE, TARGETS[0]], seed=4)
    assert distance(same.latent, inversion.image) <= 2e-5
    assert distance(other.latent, inversion.image) > 1e-3


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("flowalign", {"target": TARGETS[0]}),
        ("dnaedit", {"eta": 0.8, "guidance": 1.0}),
        ("dnaedit", {"eta": 1.0, "guidance": 2.0}),
        ("dvrf", {}),
        ("chordedit", {"guidance": 1.0}),
    ],
    ids=str,
)
def test_where_the_rule_does_not_say_so_they_do_not(
    one: Editor, name: str, changes: dict[str, Any]
) -> None:
    """Unequal guidance, a reference, a clean-up: the source is left."""
    target = changes.pop("target", SOURCE)
    inversion = inverted(one, name, **changes)
    assert distance(one.edit(inversion, target).latent, inversion.image) > 2e-4


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_unieditflow_between_equals_samples_the_source(editor: Editor, guidance: float) -> None:
    """The difference is nothing, whatever its weight: plain Euler from the latent it starts at."""
    inversion = inverted(editor, "uniedit", guidance=guidance)
    made = [editor.edit(inversion, SOURCE, omega=omega).latent for omega in (5.0, 0.0, 50.0)]
    known = inversion.trajectory
    x = known[known.first]
    assert known.first == 2
    for k in range(known.first, known.grid.steps):
        v = velocity(editor, x, known.grid[k], SOURCE, guidance)
        x = x + known.grid.width(k) * v
    assert distance(made[1], x) <= 2e-5
    assert distance(made[0], x) <= 5e-5 and distance(made[2], x) <= 2e-4


def test_steerflow_follows_the_source_where_nothing_differs(
    one: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step's source velocity is the inversion's own; a target that asks for the same velocity
    stays on the trajectory, at any guidance, and an unlike one leaves it.
    """
    inversion = inverted(one, "steerflow")
    known = inversion.trajectory
    how = inversion.method
    run = running(one, inversion, how, [SOURCE])
    for guidance in (1.0, 6.5):
        x, state, first = how.but(guidance=guidance).start(run, known)
        assert first == 0 and torch.equal(x, known[0])
        for k in run.grid.toward_image():
            source = known.velocity(k)
            monkeypatch.setattr(run, "velocities", lambda _s, *asked, v=source: [v for _ in asked])
            x, state = how.step(run, known, x, state, run.grid.step(k))
            assert distance(x, known[k + 1]) <= 1e-5
    near = distance(one.edit(inversion, SOURCE, guidance=1).latent, inversion.image)
    far = distance(one.edit(inversion, TARGETS[0]).latent, inversion.image)
    assert near < far / 3


@pytest.mark.parametrize("name", ["rf-solver", "fireflow", "uniedit", "dnaedit", "steerflow"])
def test_on_straight_paths_inverting_methods_bring_the_source_back(
    one: Editor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all paths are parallel no solver errs, and equal prompts are equal velocities."""
    speed = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))

    def constant(x: Tensor, sigma: float, conditioning: Any) -> Tensor:
        return speed.expand_as(x)

    monkeypatch.setattr(one.backbone, "velocity", constant)
    inversion = inverted(one, name)
    known = inversion.trajectory
    for k in range(known.first, known.grid.steps):
        assert distance(known.velocity(k), speed) <= 1e-3  # of narrow intervals
    plain = {"eta": 1.0} if name == "dnaedit" else {}
    assert distance(one.edit(inversion, SOURCE, **plain).latent, inversion.image) <= 1e-5


def test_sdedit_and_rf_inversion_at_their_ends(one: Editor) -> None:
    """RF-Inversion held all the way ends at the picture, drawn all the way at the chosen noise;
    SDEdit of more steps than there are begins at pure noise.
    """
    held = inverted(one, "rf-inversion", eta=1.0, eta_ratio=1.0)
    assert distance(one.edit(held, TARGETS[0]).latent, held.image) <= 1e-5
    drawn = one.invert(render(SCENE), SOURCE, "rf-inversion", steps=5, gamma=1.0, seed=3)
    noise = torch.randn(drawn.image.shape, generator=torch.Generator().manual_seed(3))
    assert distance(drawn.trajectory[0], noise) <= 1e-5
    pure = inverted(one, "sdedit", n_start=99)
    _, plain = one.generate(TARGETS[0], steps=5, guidance=7.0, seed=5)
    assert distance(one.edit(pure, TARGETS[0], seed=5).latent, plain[-1]) <= 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_a_mask_of_nothing_and_of_all(one: Editor, name: str) -> None:
    """Nothing inside is the source's latent to the bit, all inside is no mask to the bit (but where
    a mask is needed, or stands for one that is found).
    """
    inversion, fresh, free = (inverted(one, name) for _ in range(3))
    shape = inversion.picture.size[::-1]
    none = one.edit(inversion, TARGETS[0], mask=np.zeros(shape, bool), seed=2)
    assert torch.equal(none.latent, inversion.image)
    full = one.edit(fresh, TARGETS[0], mask=np.ones(shape, bool), seed=2)
    assert distance(full.latent, inversion.image) > 1e-3
    if not method(name).needs_mask and name != "consistedit":
        assert torch.equal(full.latent, one.edit(free, TARGETS[0], seed=2).latent)
        # And but for rounding with what an edit before it left.
        assert distance(full.latent, one.edit(inversion, TARGETS[0], seed=2).latent) <= 2e-5


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("prompt-swap", {}),
        ("sdedit", {"n_start": 5}),
        ("flowedit", {"n_max": 5, "n_min": 5}),
        ("rf-inversion", {"gamma": 1.0, "eta": 0.0}),
    ],
    ids=str,
)
def test_at_full_strength_the_picture_is_not_seen(
    one: Editor, name: str, settings: dict[str, Any]
) -> None:
    """What is left is the target sampled from the noise, whatever the picture and its prompt."""
    settings = {"guidance": 3.0} | settings
    _, plain = one.generate(TARGETS[0], steps=5, guidance=3.0, seed=5)
    for scene, source in ((SCENE, SOURCE), (SCENE.but(color="yellow"), TARGETS[1])):
        how = method(name, steps=5, **settings)
        inversion = one.invert(render(scene), source, how, seed=5)
        assert distance(one.edit(inversion, TARGETS[0], seed=5).latent, plain[-1]) <= 2e-5


def test_a_share_of_all_steps_is_every_step(one: Editor) -> None:
    """UniEdit's and DNAEdit's inversions then end at pure noise."""
    for name, settings in (("uniedit", {"alpha": 1.0}), ("dnaedit", {"skip_steps": 0})):
        inversion = inverted(one, name, **settings)
        assert inversion.trajectory.first == 0


@pytest.mark.parametrize("name", METHODS)
def test_a_method_leaves_no_trace(editor: Editor, name: str) -> None:
    """After it the model is what it was: no hook, no other part, the same velocity to the bit."""
    network = editor.backbone.transformer
    embedded = editor.backbone.embed(TARGETS[1])
    x = editor.backbone.encode(torch.zeros(1, 3, 64, 64))
    before, parts = editor.backbone.velocity(x, 0.6, embedded), _parts(network)
    inversion = inverted(editor, name)
    mask = np.ones(inversion.picture.size[::-1], bool) if method(name).needs_mask else None
    first = editor.edit(inversion, TARGETS[0], seed=2, mask=mask)
    assert hooks(editor.backbone) == 0 and _parts(network) == parts
    assert torch.equal(editor.backbone.velocity(x, 0.6, embedded), before)
    again = editor.edit(inversion, TARGETS[0], seed=2, mask=mask)
    assert distance(again.latent, first.latent) <= 2e-5


def _parts(network: Any) -> dict[str, Any]:
    """Every module, the processors of attention, and whatever shadows a `forward`."""
    return {
        name: (id(each), id(getattr(each, "processor", None)), "forward" in vars(each))
        for name, each in network.named_modules()
    }


@every_published
def test_the_found_mask_is_one(one: Editor, name: str) -> None:
    """Of partial trajectories too, and for methods that invert nothing."""
    inversion = inverted(one, name)
    mask = one.auto_mask(inversion, TARGETS[0], noise_levels=9)
    assert mask.shape == inversion.picture.size[::-1] and 0 < mask.mean() < 1
    edit = one.edit(inversion, TARGETS[0], mask=mask)
    assert torch.isfinite(edit.latent).all()


@pytest.mark.parametrize("name", ["rf-inversion", "dnaedit", "uniedit", "steerflow"])
def test_their_inversions_are_reconstructed(one: Editor, name: str) -> None:
    """With compensation, from wherever the trajectory begins, under their own prompt."""
    inversion = inverted(one, name)
    assert one.reconstruct(inversion).latent_error <= 1e-5
    assert one.reconstruct(inversion, compensate=False).latent_error > 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_one_short_class_in_a_short_file(name: str) -> None:
    """Its paper's formula is in the open: 60 lines with its docstring, in a file of at most 80."""
    made = entry(name).load()
    assert len(inspect.getsource(made).splitlines()) <= 60
    assert len(inspect.getsource(sys.modules[made.__module__]).splitlines()) <= 80
    said = inspect.getdoc(sys.modules[made.__module__])
    assert made.__doc__ and said and made.name == method(name).name
    if name in PUBLISHED:
        assert made.paper.split()[-1] in said  # its number on arXiv
