"""The pages on the plug-ins are kept true: their code runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import comfy_stand_in
from comfy_stand_in import given, run, tensor
from counterflow.cli import main
from doc_pages import blocks


@pytest.fixture
def bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's picture, in the folder where one is."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["toybox", "draw", "--seed", "55", "-o", "bear.png"])
    return tmp_path / "bear.png"


def test_the_page_on_diffusers(bear: Path) -> None:
    """One program: a pipeline loaded and one in memory, and the blocks both ways."""
    first, shared, folder, blocks_alone = (b.code for b in blocks("docs/diffusers.md", "python"))
    names: dict[str, Any] = {}
    exec(first, names)
    blue, before = Image.open(bear.with_name("blue.png")), Image.open(bear)
    assert blue.size == before.size and names["made"].seed == 5
    changed = np.abs(np.subtract(np.asarray(blue, int), np.asarray(before.convert("RGB"), int)))
    assert changed.max() > 100, "red became blue"
    assert len(names["more"].images) == 2
    exec(shared, names)
    assert names["made"].edits[0].method.steps == 10 and names["made"].edits[0].forwards <= 40
    assert names["pipe"].transformer is names["own"].transformer
    exec(folder, names)
    assert names["images"][0].size == before.size
    exec(blocks_alone, names)
    assert not names["steps"].null_component_names


def test_the_page_on_comfyui(bear: Path) -> None:
    """Its workflow runs, and its table names every node."""
    (block,) = blocks("docs/comfyui.md", "json")
    prompt = json.loads(block.code)
    picture = tensor(Image.open(bear).convert("RGB"))
    theirs = {"LoadImage": given(picture)}
    nodes = comfy_stand_in.loaded() | theirs
    assert prompt.pop("4")["class_type"] == "SaveImage"
    (image,) = run(prompt, nodes)["3"].args[0]
    assert image.shape == picture[0].shape and (image - picture[0]).abs().max() > 0.4
    page = (Path(__file__).parents[1] / "docs" / "comfyui.md").read_text("utf-8")
    for node in comfy_stand_in.loaded().values():
        title = node.GET_SCHEMA().display_name.removeprefix("Counterflow: ")
        assert f"\n| {title} |" in page
