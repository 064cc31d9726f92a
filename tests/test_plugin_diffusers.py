"""The methods inside diffusers: a pipeline and a modular block, equal to the editor to the bit."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ModularPipeline, StableDiffusion3Pipeline
from diffusers.utils import dynamic_modules_utils
from PIL import Image

from counterflow.backbones.opening import load_adapter
from counterflow.edit.editor import Editor
from counterflow.errors import InputError, ModelError
from counterflow.plugins.diffusers import CounterflowPipeline, edit_blocks, pipeline, write_blocks
from counterflow.plugins.values import seed_of
from counterflow.toybox.render import render
from tiny import TINY
from tools import SCENE, SOURCE, TARGETS, hooks

PICTURE = render(SCENE)
WORDS = {"image": PICTURE, "source_prompt": SOURCE, "prompt": TARGETS[0]}
INSIDE = np.zeros((PICTURE.height, PICTURE.width), bool)
INSIDE[:, :64] = True


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, int)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = CounterflowPipeline.from_pretrained("toybox")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def toybox() -> Editor:
    return Editor.load("toybox", "cpu")


# The pipeline


@pytest.mark.parametrize(
    ("method", "settings"),
    [("paired", {}), ("flowedit", {"steps": 4}), ("ftedit", {"steps": 2, "iterations": 1})],
    ids=["paired", "flowedit", "ftedit"],
)
def test_a_call_is_the_editors_own(
    pipe: Any, toybox: Editor, method: str, settings: dict[str, Any]
) -> None:
    """Picture and latent, to the bit; and the pipeline's network is left without a hook."""
    made = pipe(**WORDS, method=method, generator=seeded(3), **settings)
    inversion = toybox.invert(PICTURE, SOURCE, method, seed=3, **settings)
    expected = toybox.edit(inversion, TARGETS[0], seed=3)
    assert made.seed == 3
    assert np.array_equal(pixels(made.images[0]), pixels(expected.image))
    assert torch.equal(made.edits[0].latent, expected.latent)
    assert made.edits[0].forwards == expected.forwards
    assert hooks(pipe) == 0


def test_the_second_bundled_model(tmp_path: Path) -> None:
    """FLUX's architecture, whose latents the pipeline packs and we do not; as a block, too."""
    own = CounterflowPipeline.from_pretrained("toybox-flux")
    own.set_progress_bar_config(disable=True)
    assert isinstance(own, diffusers.FluxPipeline)
    more: dict[str, Any] = {"method": "flowedit", "num_inference_steps": 3, "generator": 2}
    made = own(**WORDS, **more, output_type="latent")
    editor = Editor.load("toybox-flux", "cpu")
    inversion = editor.invert(PICTURE, SOURCE, "flowedit", seed=2, steps=3)
    assert torch.equal(made.images, editor.edit(inversion, TARGETS[0], seed=2).latent)
    folder = write_blocks(tmp_path / "edit", "toybox-flux")
    steps = ModularPipeline.from_pretrained(str(folder), trust_remote_code=True)
    steps.load_components()
    steps.set_progress_bar_config(disable=True)
    assert torch.equal(steps(**WORDS, **more, output_type="latent", output="images"), made.images)


def test_diffusers_names_of_settings(pipe: Any, toybox: Editor) -> None:
    """Steps, guidance, the negative prompt, a mask; and several prompts of one inversion."""
    made = pipe(
        PICTURE,
        TARGETS,
        SOURCE,
        "a dog",
        "flowedit",
        num_inference_steps=3,
        guidance_scale=3.0,
        source_guidance=2.0,
        mask_image=Image.fromarray(INSIDE),
        exact_background=True,
        generator=seeded(4),
    )
    ours = Editor(toybox.backbone, negative="a dog")
    settings = {"steps": 3, "guidance": 3.0, "source_guidance": 2.0}
    inversion = ours.invert(PICTURE, SOURCE, "flowedit", seed=4, **settings)
    expected = ours.edit_batch(inversion, TARGETS, None, INSIDE, True, seed=4)
    assert len(made.images) == 2
    for one, other in zip(made.images, expected, strict=True):
        assert np.array_equal(pixels(one), pixels(other.image))
        assert np.array_equal(pixels(one)[~INSIDE], pixels(PICTURE)[~INSIDE])
    again = pipe(inversion=made.inversion, prompt=TARGETS[1], negative_prompt="a dog", generator=4)
    alone = ours.edit(made.inversion, TARGETS[1], seed=4)
    assert np.abs(pixels(again.images[0]) - pixels(alone.image)).max() <= 1
    found = pipe.invert(PICTURE, SOURCE, "flowedit", 3, generator=seeded(4))
    assert found.method.steps == 3 and found.prompt == SOURCE


def test_pictures_in_and_out_in_every_form(pipe: Any) -> None:
    """An array or a tensor of a picture is that picture; a result is the same in every form."""
    few = {"source_prompt": SOURCE, "prompt": TARGETS[0], "begin": 0.6, "generator": 2}
    array = np.asarray(PICTURE, np.float32) / 255
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    mask = torch.from_numpy(INSIDE).float()
    made = {
        kind: pipe(image=image, mask_image=inside, output_type=kind, **few)
        for kind, image, inside in (
            ("pil", PICTURE, Image.fromarray(INSIDE)),
            ("np", array, INSIDE.astype(float)),
            ("pt", tensor[None], mask[None, None]),
            ("latent", [array[None]], mask),
        )
    }
    (picture,) = made["pil"].images
    assert picture.size == PICTURE.size
    assert made["np"].images.shape == (1, PICTURE.height, PICTURE.width, 3)
    assert np.array_equal(made["np"].images[0], np.asarray(picture, np.float32) / 255)
    assert torch.equal(
        made["pt"].images[0].permute(1, 2, 0), torch.from_numpy(made["np"].images[0])
    )
    assert torch.equal(made["latent"].images, made["pil"].edits[0].latent)
    (images,) = pipe(image=PICTURE, return_dict=False, output_type="np", **few)
    assert images.shape == made["np"].images.shape


def test_the_callback_sees_every_step_and_may_change_it(pipe: Any) -> None:
    """The numbers, the timesteps and the latents of the edit; what it returns is gone on with."""
    told: list[tuple[int, float, torch.Tensor]] = []

    def look(of: Any, step: int, timestep: torch.Tensor, given: dict[str, Any]) -> dict[str, Any]:
        assert of is pipe and set(given) == {"latents"}
        told.append((step, float(timestep), given["latents"]))
        return given

    plain = pipe(**WORDS, generator=1, callback_on_step_end=look)
    grid = plain.inversion.method.grid(Editor.load(pipe).backbone, plain.inversion.size)
    assert [step for step, _, _ in told] == list(range(grid.steps))
    assert [time for _, time, _ in told] == pytest.approx([1000 * s for s in grid.sigmas[:-1]])
    assert torch.equal(told[-1][2], plain.edits[0].latent)

    def blank(of: Any, step: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        last = step == grid.steps - 1
        return {"latents": torch.zeros_like(given["latents"]).double()} if last else {}

    changed = pipe(**WORDS, generator=1, callback_on_step_end=blank, output_type="latent")
    assert torch.equal(changed.images, torch.zeros_like(plain.edits[0].latent))

    def nothing(of: Any, step: int, timestep: Any, given: dict[str, Any]) -> None:
        assert given == {}

    names: dict[str, Any] = {"callback_on_step_end_tensor_inputs": []}
    same = pipe(**WORDS, generator=1, callback_on_step_end=nothing, **names)
    assert torch.equal(same.edits[0].latent, plain.edits[0].latent)


def test_generators_are_used_as_diffusers_uses_them() -> None:
    """A fresh one is its seed; it moves on; without one every call has its own seed."""
    generator = seeded(7)
    assert seed_of(generator) == 7
    later = seed_of(generator)
    assert later not in (7, seed_of(generator))
    other = seeded(7)
    assert [seed_of(other), seed_of(other)] == [7, later]
    assert seed_of(12) == 12
    torch.manual_seed(0)
    first, second = seed_of(None), seed_of(None)
    torch.manual_seed(0)
    assert first != second and seed_of(None) == first


def test_arguments_have_diffusers_names() -> None:
    """Those that its pipelines of pictures have in common, under the same names."""
    ours = inspect.signature(CounterflowPipeline.__call__).parameters
    theirs = inspect.signature(diffusers.StableDiffusion3InpaintPipeline.__call__).parameters
    shared = {
        "prompt", "image", "mask_image", "num_inference_steps", "guidance_scale", "negative_prompt",
        "generator", "output_type", "return_dict", "callback_on_step_end",
        "callback_on_step_end_tensor_inputs",
    }  # fmt: skip
    assert shared <= set(ours) & set(theirs)
    cycle = inspect.signature(diffusers.CycleDiffusionPipeline.__call__).parameters
    assert {"source_prompt"} == (set(ours) & set(cycle)) - set(theirs)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image": None}, "either image"),
        ({"image": [PICTURE, PICTURE]}, "give one image"),
        ({"image": [None]}, "not NoneType"),
        ({"image": np.full((64, 64, 3), 2.0)}, "from 0 to 1"),
        ({"image": np.zeros((64, 64))}, "dimensions"),
        ({"image": np.zeros((64, 64, 4))}, "three channels"),
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": []}, "prompt is empty"),
        ({"source_prompt": ""}, "source_prompt"),
        ({"output_type": "jpeg"}, "output_type is one of"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"method": "kv-edit"}, "inside a mask"),
        ({"num_inference_steps": 0}, "steps is a whole number"),
        ({"num_inference_steps": 3, "steps": 4}, "given twice"),
        ({"strength": 0.5}, "no setting strength"),
        ({"exact_background": True}, "needs a mask"),
        ({"mask_image": Image.new("L", PICTURE.size)}, "nothing is inside"),
        ({"mask_image": Image.new("L", (8, 8), 255)}, "draw it at the picture"),
        ({"generator": [seeded(1), seeded(2)]}, "give one generator"),
        ({"generator": -1}, "seed is a whole number"),
        ({"rows": 0}, "rows is 1 or more"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "prompt_embeds"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_cannot_be_is_refused_before_a_forward(
    pipe: Any, change: dict[str, Any], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe.transformer, "forward", None)
    with pytest.raises(InputError, match=word):
        pipe(**WORDS | change)


def test_a_pipeline_in_memory_shares_its_parts(model: str) -> None:
    """Nothing is copied or cast; what is saved is a pipeline of the family's own class again."""
    own = StableDiffusion3Pipeline.from_pretrained(model, dtype=torch.bfloat16)
    made = CounterflowPipeline.from_pipe(own)
    assert isinstance(made, CounterflowPipeline) and isinstance(made, StableDiffusion3Pipeline)
    assert all(part is own.components[name] for name, part in made.components.items())
    assert own.transformer.dtype == torch.bfloat16
    assert type(StableDiffusion3Pipeline.from_pipe(made)) is StableDiffusion3Pipeline
    assert made.to(torch.float64).vae.dtype == torch.float64
    assert CounterflowPipeline.from_pipe(own, dtype=torch.float32).vae.dtype == torch.float32
    with pytest.raises(ModelError, match="no adapter for dict"):
        CounterflowPipeline.from_pipe({})


def test_a_saved_pipeline_is_the_familys_own(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusion3Pipeline"
    assert type(diffusers.DiffusionPipeline.from_pretrained(tmp_path)) is StableDiffusion3Pipeline


def test_what_is_no_model_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for opened in (CounterflowPipeline.from_pretrained, lambda m: write_blocks(tmp_path / "b", m)):
        with pytest.raises(ModelError, match="no adapter for StableDiffusionPipeline"):
            opened(str(tmp_path))
        with pytest.raises(ModelError, match="no model at"):
            opened(str(tmp_path / "absent"))


def small(own: Any) -> Any:
    """Its adapter, working at few pixels."""
    backbone = load_adapter(own, "small")
    backbone.area = 64 * 64
    return backbone


def test_every_family_is_edited_from_memory(
    named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the pipeline and by the modular steps: the editor's own latents, to the bit."""
    own = TINY[named].build()
    monkeypatch.setattr(pipeline, "load_backbone", small)
    expected = Editor(small(own))
    inversion = expected.invert(PICTURE, SOURCE, "flowedit", steps=2, seed=5)
    latent = expected.edit(inversion, TARGETS[0], seed=5).latent
    more = {"method": "flowedit", "num_inference_steps": 2, "generator": 5, "output_type": "latent"}
    made = CounterflowPipeline.from_pipe(own)
    made.set_progress_bar_config(disable=True)
    assert torch.equal(made(**WORDS, **more).images, latent)

    steps = edit_blocks(type(own).__name__)().init_pipeline()
    steps.set_progress_bar_config(disable=True)
    needed = {each.name for each in steps.blocks.expected_components}
    parts = {name: part for name, part in own.components.items() if name in needed}
    assert all(part is not None for part in parts.values())
    facts = {name: own.config[name] for name in steps._config_specs}
    steps.register_components(**parts)
    steps.register_to_config(**facts)
    assert torch.equal(steps(**WORDS, **more, output="images"), latent)


# The modular block


def test_a_folder_is_a_modular_pipeline(toybox: Editor, tmp_path: Path) -> None:
    """Opened by diffusers itself, with the weights that the folder names; the editor's picture."""
    folder = write_blocks(tmp_path / "edit", "toybox")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        ModularPipeline.from_pretrained(str(folder))
    steps = ModularPipeline.from_pretrained(str(folder), trust_remote_code=True)
    assert list(steps.blocks.sub_blocks) == ["invert", "edit"]
    steps.load_components()
    assert not steps.null_component_names
    steps.set_progress_bar_config(disable=True)
    state = steps(**WORDS, settings={"begin": 0.7}, generator=seeded(6))
    inversion = toybox.invert(PICTURE, SOURCE, "paired", seed=6, begin=0.7)
    expected = toybox.edit(inversion, TARGETS[0], seed=6)
    assert np.array_equal(pixels(state.get("images")[0]), pixels(expected.image))
    assert state.get("edits")[0].forwards == expected.forwards and state.get("seed") == 6

    blocks = steps.blocks
    blocks.sub_blocks.pop("invert")
    further = blocks.init_pipeline(str(folder))
    further.update_components(**steps.components)
    further.set_progress_bar_config(disable=True)
    given = {"inversion": state.get("inversion"), "prompt": TARGETS, "seed": 6}
    images = further(**given, output_type="np", output="images")
    assert images.shape == (2, PICTURE.height, PICTURE.width, 3)
    assert np.abs(images[0] * 255 - pixels(expected.image)).max() <= 1


def test_a_folder_names_no_part_that_the_model_lacks(tmp_path: Path, model: str) -> None:
    """SD3 without its T5: nothing is asked for in vain, and the edit is made."""
    own = StableDiffusion3Pipeline.from_pretrained(model, text_encoder_3=None, tokenizer_3=None)
    own.save_pretrained(tmp_path / "model")
    folder = write_blocks(tmp_path / "edit", str(tmp_path / "model"))
    steps = ModularPipeline.from_pretrained(str(folder), trust_remote_code=True)
    steps.load_components()
    assert set(steps.null_component_names) == {"text_encoder_3", "tokenizer_3"}
    steps.set_progress_bar_config(disable=True)
    images = steps(**WORDS, method="flowedit", num_inference_steps=2, generator=1, output="images")
    assert images[0].size == PICTURE.size


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_blocks(tmp_path / "file")


def test_where_remote_code_is_forbidden_the_blocks_need_none(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers says so of the folder, and the same folder opens by the blocks themselves."""
    folder = str(write_blocks(tmp_path / "edit", "toybox"))
    monkeypatch.setattr(dynamic_modules_utils, "DIFFUSERS_DISABLE_REMOTE_CODE", True)
    with pytest.raises(ValueError, match="disabled globally"):
        ModularPipeline.from_pretrained(folder, trust_remote_code=True)
    steps = edit_blocks("StableDiffusion3Pipeline")().init_pipeline(folder)
    steps.update_components(**{n: pipe.components[n] for n in steps.null_component_names})
    steps.set_progress_bar_config(disable=True)
    made = steps(**WORDS, generator=2, output="images")
    assert np.array_equal(pixels(made[0]), pixels(pipe(**WORDS, generator=2).images[0]))
