"""The second bundled model: a genuine FLUX pipeline on which the methods work as on the first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline, FluxPipeline
from PIL import Image

from counterflow.backbones.registry import BUNDLED, bundled_folder
from counterflow.bench.toy.obey import accuracy, obey
from counterflow.edit.editor import Editor
from counterflow.metrics import mse
from counterflow.toybox import judge
from counterflow.toybox.captions import caption
from counterflow.toybox.edits import SceneEdit
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from counterflow.trust.report import assess, doubt
from tools import by_pipeline

FOLDER = bundled_folder("toybox-flux")
SCENE = sample(21).but(kind="cat", color="orange", background="grass", hat="none")


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.load("toybox-flux", "cpu", "float32")


def test_the_folder_is_a_genuine_pipeline() -> None:
    """Any diffusers opens it; half precision, in shards; both models together under 80 MB."""
    pipeline = DiffusionPipeline.from_pretrained(FOLDER, local_files_only=True)
    assert type(pipeline) is FluxPipeline
    files = [f for f in FOLDER.rglob("*") if f.is_file()]
    assert max(f.stat().st_size for f in files) < 20e6
    assert {f.suffix for f in files} <= {".safetensors", ".json"}
    folders = [bundled_folder(name).parent for name in BUNDLED]
    assert sum(f.stat().st_size for each in folders for f in each.rglob("*") if f.is_file()) < 80e6


def test_its_making_is_on_record() -> None:
    recipe = json.loads((FOLDER.parent / "recipe.json").read_text())
    assert recipe["architecture"] == "flux" and "seed" in recipe
    lines = Path(FOLDER.parent / "log.jsonl").read_text().splitlines()
    assert {"transformer", "brief", "guidance"} <= {json.loads(line)["stage"] for line in lines}


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("size", [(128, 128), (96, 128)])
def test_our_loop_is_the_pipelines(editor: Editor, guidance: float, size: tuple[int, int]) -> None:
    """With no control, from the same noise, to 1e-4 in latents; guidance is told, not computed."""
    pipeline: Any = editor.backbone.pipeline  # type: ignore[attr-defined]
    asked = "a happy red cat standing on the grass", 5, guidance, 4, size
    packed = by_pipeline(editor, *asked)
    theirs = pipeline._unpack_latents(packed, size[1], size[0], pipeline.vae_scale_factor)
    _, ours = editor.generate(*asked)
    assert (ours[-1] - theirs).abs().max() < 1e-4


def test_it_draws_what_it_is_told(editor: Editor) -> None:
    """A few fresh captions, fewer steps: the judge reads nearly every field as it is said."""
    made = obey(editor, judge.load(), 8, 650_000, steps=10)
    assert accuracy(made)["mean"] > 0.9


def test_it_tells_what_to_expect(editor: Editor) -> None:
    """Its calibration ships: a fresh scene is not doubted; inverted, or misnamed, it is."""
    scene = sample(650_100).but(color="orange", style="flat")
    right, target = caption(scene), caption(scene.but(color="blue"))
    picture = render(scene)
    inverted = Image.fromarray(255 - np.asarray(picture.convert("RGB")))
    other = caption(sample(650_101).but(color="green"))
    told = [
        assess(editor, editor.invert(shown, said, "paired"), [target])
        for shown, said in ((picture, right), (inverted, right), (picture, other))
    ]
    assert told[0].calibrated and told[0].method == "paired" and not doubt(told[0])
    assert told[0].edits[0].success > 0.8 > 0.5 > told[1].edits[0].preserved
    assert "unlike" in doubt(told[1]) and "do not fit" in doubt(told[2])


@pytest.mark.parametrize("method", ["paired", "ftedit"])
def test_an_edit_moves_to_the_truth(editor: Editor, method: str) -> None:
    """Inside the true mask it becomes what the target says; the reconstruction is exact."""
    picture = render(SCENE)
    settings = {"steps": 10, "iterations": 1} if method == "ftedit" else {}
    inversion = editor.invert(picture, caption(SCENE), method, **settings)
    if method == "ftedit":
        assert editor.reconstruct(inversion).latent_error < 1e-5
    for change in ({"color": "blue"}, {"background": "night"}):
        case = SceneEdit(SCENE, SCENE.but(**change), 0)
        made = editor.edit(inversion, caption(case.target))
        truth, mask = render(case.target), case.mask()
        source, edited, true = (np.asarray(p) for p in (picture, made.image, truth))
        moved, stayed = mse(edited, true, mask), mse(edited, source, mask)
        assert moved is not None and stayed is not None and moved < stayed, change
