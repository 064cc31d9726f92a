"""Text encoders that are in memory only while prompts are embedded."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from counterflow.backbones.loading import Loading
from counterflow.backbones.opening import load_backbone
from counterflow.edit.editor import Editor
from counterflow.edit.examine import examine
from counterflow.errors import InputError, ModelError
from counterflow.toybox.render import render
from tiny import TINY
from tools import SCENE, SOURCE, TARGETS


@pytest.fixture(scope="module", params=["sd3", "flux-dev", "qwen-image"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    TINY[request.param].build().save_pretrained(path)
    return path


def opened(folder: Path, **options: Any) -> Any:
    editor = Editor(load_backbone(str(folder), "cpu", **options))
    editor.backbone.area = 64 * 64  # type: ignore[misc]
    return editor


def encoders(editor: Any) -> dict[str, Any]:
    parts = editor.backbone.pipeline.components.items()
    return {name: part for name, part in parts if name.startswith("text_encoder")}


def test_they_are_not_held_while_it_runs(folder: Path) -> None:
    """None of their weights is in memory after the first forward, on the device or the host."""
    editor = opened(folder, free_text=True)
    held = [
        weakref.ref(weight) for part in encoders(editor).values() for weight in part.parameters()
    ]
    assert held and all(each() is not None for each in held)
    editor.generate(SOURCE, steps=1, size=(64, 64))
    gc.collect()
    assert not [each for each in held if each() is not None]
    assert set(encoders(editor).values()) == {None}


def test_a_later_prompt_is_embedded_as_before(folder: Path) -> None:
    """To the bit; the network and the autoencoder stay the same objects."""
    plain, freed = opened(folder), opened(folder, free_text=True)
    pipeline = freed.backbone.pipeline
    before = pipeline.transformer, pipeline.vae
    for prompt in (SOURCE, TARGETS[0], ""):
        freed.generate(SOURCE, steps=1, size=(64, 64))
        assert not any(encoders(freed).values())
        expected, made = plain.backbone.embed(prompt), freed.backbone.embed(prompt)
        assert expected.segments == made.segments
        for name, tensor in expected.tensors.items():
            assert torch.equal(made.tensors[name], tensor)
        assert all(not part.training for part in encoders(freed).values())
    assert pipeline.transformer is before[0] and pipeline.vae is before[1]


def test_prompts_one_after_another_share_one_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit of known prompts reads none again, one of new prompts once for all of them."""
    editor, read = opened(folder, free_text=True), []
    kind = type(editor.backbone.pipeline)
    usual = kind.from_pretrained
    monkeypatch.setattr(
        kind, "from_pretrained", lambda *a, **b: (read.append(1), usual(*a, **b))[1]
    )
    editor.notice(SOURCE, *TARGETS)
    inversion = editor.invert(render(SCENE), SOURCE, "flowedit", steps=2)
    editor.edit_batch(inversion, TARGETS)
    assert read == []
    editor.edit_batch(inversion, ["a blue dog", "a green dog"])
    assert read == [1]


def test_an_edit_is_the_same_to_the_bit(folder: Path) -> None:
    made = []
    for free in (False, True):
        editor = opened(folder, free_text=free)
        inversion = editor.invert(render(SCENE), SOURCE, "ftedit", steps=2, iterations=1)
        made.append(torch.stack([editor.edit(inversion, t).latent for t in TARGETS]))
    assert torch.equal(*made)


def test_the_model_s_own_pipeline_can_be_asked(folder: Path) -> None:
    """As `doctor` does, after our own loop."""
    assert [each for each in examine(opened(folder, free_text=True)) if not each.works] == []


def test_a_folder_that_went_away_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    TINY["sd3"].build().save_pretrained(path)
    editor = opened(path, free_text=True)
    editor.generate(SOURCE, steps=1, size=(64, 64))
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="cannot be opened"):
        editor.embed("a blue dog")
    (tmp_path / "elsewhere").rename(path)
    editor.embed("a blue dog")


def test_it_goes_without_offloading() -> None:
    with pytest.raises(InputError, match="choose one"):
        Loading(offload="group", free_text=True).check()
    assert "free_text" not in Loading(free_text=True).record()


def test_a_lora_of_the_text_encoders_is_refused(tmp_path: Path) -> None:
    """It would be lost when they are read again; one of the transformer alone is not."""
    peft = pytest.importorskip("peft")
    pipeline = TINY["sd3"].build()
    pipeline.save_pretrained(tmp_path / "tiny")
    layers = {}
    for name, part, module in (
        ("one", pipeline.transformer, "to_q"),
        ("two", pipeline.text_encoder, "q_proj"),
    ):
        part.add_adapter(peft.LoraConfig(r=2, target_modules=[module]))
        layers[name] = peft.get_peft_model_state_dict(part)
    save = type(pipeline).save_lora_weights
    save(tmp_path, layers["one"], weight_name="one.safetensors")
    save(tmp_path, layers["one"], layers["two"], weight_name="two.safetensors")
    opened(tmp_path / "tiny", free_text=True, lora=(str(tmp_path / "one.safetensors"),))
    with pytest.raises(InputError, match="changes text encoders, too: leave --free-text out"):
        opened(tmp_path / "tiny", free_text=True, lora=(str(tmp_path / "two.safetensors"),))
    opened(tmp_path / "tiny", lora=(str(tmp_path / "two.safetensors"),))
