"""The bundled model: a genuine pipeline that our loop reproduces and that the method works on."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline
from PIL import Image

from counterflow.backbones.opening import load_backbone
from counterflow.backbones.registry import toybox_folder
from counterflow.bench.engine import Attempt, Condition, Engine, condition
from counterflow.bench.sets.cases import rendered
from counterflow.bench.sets.toypie import scene_edits
from counterflow.bench.toy.composed import compose, measure_composed
from counterflow.bench.toy.obey import accuracy, obey
from counterflow.edit.editor import Editor
from counterflow.metrics import mse
from counterflow.prompts import words
from counterflow.toybox import judge
from counterflow.toybox.captions import caption
from counterflow.toybox.edits import SceneEdit
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from tools import by_pipeline

SCENE = sample(21).but(kind="cat", color="orange", background="grass", hat="none")


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(load_backbone("toybox", "cpu", "float32"))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return render(SCENE)


def test_the_folder_is_a_genuine_pipeline() -> None:
    """Any diffusers opens it, safetensors in half precision only, in shards, under 60 MB."""
    pipeline = DiffusionPipeline.from_pretrained(toybox_folder(), local_files_only=True)
    assert type(pipeline) is StableDiffusion3Pipeline
    pipeline.set_progress_bar_config(disable=True)
    (made,) = pipeline("a red cat on the beach", num_inference_steps=2).images
    assert made.size == (128, 128)
    files = [f for f in toybox_folder().rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 60e6
    assert max(f.stat().st_size for f in files) < 20e6
    assert {f.suffix for f in files} <= {".safetensors", ".json", ".txt"}


def test_its_making_is_on_record() -> None:
    """The recipe, with its seed, and the log of the run lie beside the weights."""
    folder = toybox_folder().parent
    assert "seed" in json.loads((folder / "recipe.json").read_text())
    stages = [json.loads(line)["stage"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {"vae", "transformer", "decoder", "judge"} <= set(stages)


def test_it_says_which_words_it_never_learned(editor: Editor, picture: Image.Image) -> None:
    """An edit to a word that the world has not works, and names it; known words are silent."""
    known = {word for i in range(300) for word in words(caption(sample(i)))}
    assert editor.backbone.embed(" ".join(known)).unknown == ()
    inversion = editor.invert(picture, caption(SCENE), steps=2, iterations=0)
    with pytest.warns(UserWarning, match="never learned 'dragon'"):
        made = editor.edit(inversion, "a purple Dragon on the beach, a dragon")
    assert made.unknown == ("dragon",) and made.image.size == picture.size


def test_it_draws_what_it_is_told(editor: Editor) -> None:
    """A few fresh captions, fewer steps: the judge reads nearly every field as it is said."""
    made = obey(editor, judge.load(), 16, 650_000, steps=6)
    assert accuracy(made)["mean"] > 0.88


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("size", [(128, 128), (96, 128)])
def test_our_loop_is_the_pipelines(editor: Editor, guidance: float, size: tuple[int, int]) -> None:
    """With no control, from the same noise, to 1e-4 in latents."""
    asked = "a happy red cat standing on the grass", 5, guidance, 4, size
    theirs = by_pipeline(editor, *asked)
    _, ours = editor.generate(*asked)
    assert (ours[-1] - theirs).abs().max() < 1e-4


def test_any_text_length_draws_the_same(editor: Editor) -> None:
    """Padding of T5 is learned at every length: the pipeline's default 256 changes little."""
    pipeline: Any = editor.backbone.pipeline  # type: ignore[attr-defined]
    short, long = (
        pipeline(
            "a happy red cat standing on the grass",
            num_inference_steps=6,
            guidance_scale=2.0,
            generator=torch.Generator().manual_seed(4),
            output_type="latent",
            max_sequence_length=length,
        ).images
        for length in (editor.backbone.length, 256)  # type: ignore[attr-defined]
    )
    assert (short - long).square().mean() < 0.1 * short.square().mean()


def test_residual_falls_with_iterations(editor: Editor, picture: Image.Image) -> None:
    """Stage I does what the paper says: each iteration lowers the residual, and the error."""
    residuals, errors = [], []
    for iterations in range(4):
        inversion = editor.invert(picture, caption(SCENE), steps=10, iterations=iterations)
        assert editor.reconstruct(inversion).latent_error < 1e-5
        assert inversion.residual is not None
        residuals.append(inversion.residual)
        errors.append(editor.reconstruct(inversion, compensate=False).latent_error)
    assert all(after < before for before, after in pairwise(residuals))
    assert errors[3] < errors[0] and errors[3] > 1e-3


def test_the_papers_cost(editor: Editor, picture: Image.Image) -> None:
    """120 forwards to invert, 90 for the first target, 60 for a further one."""
    inversion = editor.invert(picture, caption(SCENE))
    first = editor.edit(inversion, caption(SCENE.but(color="blue")))
    further = editor.edit(inversion, caption(SCENE.but(kind="dog")))
    assert (inversion.forwards, first.forwards, further.forwards) == (120, 90, 60)
    assert inversion.latent_error is not None and inversion.latent_error < 1e-5


def test_an_edit_moves_to_the_truth(editor: Editor, picture: Image.Image) -> None:
    """Inside the true mask it becomes what the target says: a colour, an object and a
    place, under full control.
    """
    inversion = editor.invert(picture, caption(SCENE), steps=15, iterations=1)
    changes: list[dict[str, Any]] = [{"color": "blue"}, {"hat": "red"}, {"background": "night"}]
    for change in changes:
        case = SceneEdit(SCENE, SCENE.but(**change), 0)
        made = editor.edit(inversion, caption(case.target))
        truth, mask = render(case.target), case.mask()
        source, edited, true = (np.asarray(p) for p in (picture, made.image, truth))
        moved, stayed = mse(edited, true, mask), mse(edited, source, mask)
        assert moved is not None and stayed is not None and moved < stayed, change


def test_a_mask_keeps_the_outside(editor: Editor, picture: Image.Image) -> None:
    """A background edit confined to the left half leaves the right half as it decodes."""
    inversion = editor.invert(picture, caption(SCENE), steps=10, iterations=1)
    inside = np.zeros((128, 128), bool)
    inside[:, :64] = True
    target, open_ = caption(SCENE.but(background="night")), {"text_ratio": 0}
    again = editor.reconstruct(inversion)
    masked = editor.edit(inversion, target, mask=inside, **open_)
    free = editor.edit(inversion, target, **open_)
    outside = slice(9, None)  # latent columns beyond the mask's edge
    assert torch.equal(masked.latent[..., outside], inversion.image[..., outside])
    assert not torch.equal(masked.latent[..., :8], inversion.image[..., :8])
    # The decoder's group norms see the whole picture, so equal latents decode a little otherwise.
    kept, changed = (
        np.abs(np.asarray(made.image, int) - np.asarray(again.image, int))[:, 80:].mean()
        for made in (masked, free)
    )
    assert kept < 0.1 * changed


def test_the_text_control_lets_edit(editor: Editor) -> None:
    """At ratio 1.0 edits succeed nearly as often as without it, and the other fields are kept."""
    engine = Engine(editor, judge.load())
    free, held = (
        condition("ftedit", steps=4, iterations=1, text_ratio=ratio) for ratio in (0.0, 1.0)
    )
    made = [
        outcome
        for edit in scene_edits(20, 660_000)
        for outcome in engine.run(tuple(Attempt(rendered(edit), how) for how in (free, held)))
    ]

    def mean(how: Condition, name: str) -> float:
        figures = [each.figures[name] for each in made if each.attempt.condition == how]  # type: ignore[literal-required]
        assert len(figures) == 20
        return float(np.mean(figures))

    assert mean(held, "success") >= 0.8 * mean(free, "success") > 0.6
    assert mean(held, "kept") > 0.97


def test_composed_embeddings_draw_the_target(editor: Editor) -> None:
    """Changed tokens alone change the picture nearly as the whole target prompt does."""
    figures = measure_composed(editor, judge.load(), 12, 700, steps=5)[-1]
    assert figures["changed"] >= 0.8, figures
    assert figures["composed"] >= 0.8 * figures["target"] > 0.4, figures


def test_text_features_are_token_local(editor: Editor) -> None:
    """Each row of the text stream depends on its own token (and place) alone."""
    backbone = editor.backbone
    one, other = (backbone.embed(f"a {c} cat standing on the grass") for c in ("red", "blue"))
    a, b = (c.tensors["encoder_hidden_states"][0] for c in (one, other))
    differ = {i for i in range(one.length) if not torch.equal(a[i], b[i])}
    changed = {s.start + i for s in one.segments for i, k in enumerate(s.ids) if k in _ids(s, one)}
    assert differ and differ <= changed
    mixed = compose(one, other).tensors["encoder_hidden_states"][0]
    assert torch.equal(mixed, b)


def _ids(segment: Any, conditioning: Any) -> set[int]:
    """Ids of the tokens that spell the colour."""
    word = conditioning.prompt.split()[1]
    start = conditioning.prompt.index(word)
    spans = zip(segment.ids, segment.offsets, segment.kinds, strict=True)
    return {
        i for i, (a, b), kind in spans if kind == "content" and a < start + len(word) and start < b
    }
