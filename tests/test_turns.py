"""Several targets in one batch, several turns, generated sources and other noise."""

from __future__ import annotations

import pytest
import torch

from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from tools import SOURCE, TARGETS, Meter, distance, inverted

MORE = [*TARGETS, SOURCE, ""]


@pytest.mark.parametrize(
    "options",
    [{}, {"attention_ratio": 0.5, "attention_tokens": "both"}, {"compensate": "both"}],
    ids=str,
)
def test_a_batch_is_its_targets_one_by_one(editor: Editor, options: dict[str, object]) -> None:
    """To rounding, each under its own map of rows; with the same forwards in all."""
    meter = Meter()
    together = editor.edit_batch(inverted(editor), MORE, progress=meter, **options)
    alone = inverted(editor)
    singles = [editor.edit(alone, target, **options) for target in MORE]
    for one, other in zip(together, singles, strict=True):
        assert one.target == other.target and one.changed == other.changed
        assert distance(one.latent, other.latent) <= 2e-5
    assert distance(together[0].latent, together[1].latent) > 1e-4
    assert meter.agrees(6)
    forwards = [sum(edit.forwards for edit in edits) for edits in (together, singles)]
    assert forwards[0] <= forwards[1]
    if not options:
        assert [e.forwards for e in together] == [e.forwards for e in singles] == [18, 12, 12, 12]


def test_a_batch_needs_a_target(one: Editor) -> None:
    with pytest.raises(InputError, match="target"):
        one.edit_batch(inverted(one, steps=2, iterations=0), [])


@pytest.mark.parametrize("skip", [0, 2])
def test_a_turn_starts_where_the_last_one_ended(editor: Editor, skip: int) -> None:
    """The edit's own latents are the next source's; it is exact without an inversion, and costs
    what a first edit costs.
    """
    inversion = inverted(editor)
    edit = editor.edit(inversion, TARGETS[0], skip_steps=skip)
    assert edit.trajectory.grid == inversion.trajectory.grid
    assert torch.equal(edit.trajectory[skip], inversion.trajectory[skip])
    assert torch.equal(edit.trajectory[0], inversion.trajectory[0])
    turn = editor.after(inversion, edit)
    assert turn.forwards == 0 and turn.prompt == TARGETS[0] and turn.picture is edit.image
    assert torch.equal(turn.trajectory[-1], edit.latent)
    again = editor.reconstruct(turn)
    assert again.latent_error <= 1e-5 and distance(again.latent, edit.latent) <= 1e-5
    assert turn.method == edit.method and edit.method.skip_steps == skip
    second = editor.edit(turn, TARGETS[1], skip_steps=0)
    assert second.forwards == 18
    assert distance(second.latent, edit.latent) > 1e-4
    third = editor.after(turn, second)
    third = editor.edit(third, TARGETS[0], guidance=1, text_ratio=0, compensate="both")
    assert torch.isfinite(third.latent).all()


def test_the_recorded_way_is_the_edit_itself(editor: Editor) -> None:
    """Both branches from the same trajectory: a neutral second turn gives the first one back."""
    inversion = inverted(editor)
    edit = editor.edit(inversion, TARGETS[0])
    turn = editor.after(inversion, edit)
    neutral = editor.edit(turn, TARGETS[0], guidance=1, compensate="both")
    assert distance(neutral.latent, edit.latent) <= 2e-5


@pytest.mark.parametrize("size", [(64, 64), (96, 64)], ids=str)
def test_a_generated_picture_is_edited_without_inversion(
    editor: Editor, size: tuple[int, int]
) -> None:
    picture, trajectory = editor.generate(SOURCE, steps=5, guidance=3, seed=4, size=size)
    inversion = editor.from_trajectory(picture, SOURCE, trajectory)
    assert inversion.forwards == 0 and inversion.size == size
    assert editor.reconstruct(inversion).latent_error <= 1e-5
    same = editor.edit(inversion, SOURCE, guidance=3, text_ratio=0, compensate="none")
    assert distance(same.latent, trajectory[-1]) <= 1e-5, "generation again"
    edit = editor.edit(inversion, TARGETS[0])
    assert edit.image.size == size and edit.forwards == 15


def test_other_noise_makes_another_scene_under_the_same_control(editor: Editor) -> None:
    """From the seed's noise; without the control it is plain generation from there."""
    picture, trajectory = editor.generate(SOURCE, steps=5, seed=4)
    inversion = editor.from_trajectory(picture, SOURCE, trajectory)
    noise = editor.noise(9, inversion.size)
    _, plain = editor.generate(TARGETS[0], steps=5, guidance=2, seed=9)
    free = editor.edit(inversion, TARGETS[0], noise=noise, text_ratio=0)
    assert distance(free.latent, plain[-1]) <= 1e-5
    kept = editor.edit(inversion, TARGETS[0], noise=noise)
    assert torch.equal(kept.trajectory[0], noise)
    assert distance(kept.latent, free.latent) > 1e-4
    with pytest.raises(InputError, match="skip_steps"):
        editor.edit(inversion, TARGETS[0], noise=noise, skip_steps=1)
