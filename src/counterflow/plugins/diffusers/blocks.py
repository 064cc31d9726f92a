"""Counterflow as steps of diffusers' modular pipelines: `invert`, then `edit`.

    pipe = edit_blocks("StableDiffusion3Pipeline")().init_pipeline("folder or owner/name")
    pipe.load_components()
    pipe(image=picture, source_prompt="a red cat", prompt="a blue cat", output="images")[0]

`write_blocks` writes a folder that `ModularPipeline.from_pretrained` opens.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch
from diffusers.modular_pipelines import (
    ComponentSpec,
    ConfigSpec,
    InputParam,
    ModularPipelineBlocks,
    OutputParam,
    SequentialPipelineBlocks,
)

from counterflow.backbones.families import UNUSED
from counterflow.backbones.opening import refusing
from counterflow.backbones.registry import local_folder, repository
from counterflow.edit.inversion import Inversion
from counterflow.methods.registry import DEFAULT
from counterflow.methods.run import ROWS
from counterflow.plugins.diffusers.pipeline import CounterflowPipeline, edit_class, find
from counterflow.plugins.values import Picture, seed_of
from counterflow.writing import save_bytes_atomically

SHARED = [
    InputParam("negative_prompt", str, "", description="What guidance leads away from."),
    InputParam("num_inference_steps", int, description="The method's steps."),
    InputParam("guidance_scale", float, description="The method's guidance."),
    InputParam("settings", dict, description="Further settings of the method, by name."),
    InputParam("generator", torch.Generator, description="For methods that draw noise."),
    InputParam("rows", int, ROWS, description="Most samples in one forward."),
]
"""Inputs of both steps."""


class _Step(ModularPipelineBlocks):  # type: ignore[misc]
    """What both steps share: the parts that they need, and a pipeline of them."""

    family: ClassVar[str]
    """The name of diffusers' pipeline class."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: dict[str, Any] = {}

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """The parts of the family's pipeline, but for those that no edit needs."""
        kind = edit_class(self.family)
        optional = set(kind._optional_components) - {"vae"} | set(UNUSED[self.family])
        types = kind._get_signature_types()
        names = (name for name in kind._get_signature_keys(kind)[0] if name not in optional)
        return [ComponentSpec(name, types[name][0]) for name in names]

    @property
    def expected_configs(self) -> list[ConfigSpec]:
        """Facts of the model that stand in its index."""
        kind = edit_class(self.family)
        return [ConfigSpec(name, None) for name in kind._get_signature_keys(kind)[1]]

    def set_progress_bar_config(self, **options: Any) -> None:
        """As that of a pipeline."""
        self._bar = options

    def _pipeline(self, components: Any) -> CounterflowPipeline:
        kind = edit_class(self.family)
        names, facts = kind._get_signature_keys(kind)
        known = {name: components.config.get(name) for name in facts}
        parts = {name: getattr(components, name, None) for name in names}
        pipeline: CounterflowPipeline = kind(
            **parts | {name: value for name, value in known.items() if value is not None}
        )
        pipeline.set_progress_bar_config(**self._bar)  # type: ignore[attr-defined]
        return pipeline


class InvertStep(_Step):
    """Makes a picture ready for edits by a method: most of them find its noise."""

    @property
    def description(self) -> str:
        """For `pipeline.doc`."""
        return "Makes a picture ready for edits by a method of Counterflow."

    @property
    def inputs(self) -> list[InputParam]:
        """The picture, the sentence that describes it, and the method."""
        return [
            InputParam("image", Picture, required=True, description="The picture."),
            InputParam("source_prompt", str, required=True, description="What it shows."),
            InputParam("method", str, DEFAULT, description="The method's name."),
            *SHARED,
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What `EditStep` needs."""
        return [
            OutputParam("inversion", Inversion, "The picture, ready for edits."),
            OutputParam("seed", int, "That of all noise."),
        ]

    def __call__(self, components: Any, state: Any) -> tuple[Any, Any]:
        """`CounterflowPipeline.invert`."""
        block = self.get_block_state(state)
        block.seed = seed_of(block.generator)
        block.inversion = self._pipeline(components).invert(
            block.image, block.source_prompt, block.method, **_shared(block)
        )
        self.set_block_state(state, block)
        return components, state


class EditStep(_Step):
    """Makes the pictures of one or more prompts from an inversion."""

    @property
    def description(self) -> str:
        """For `pipeline.doc`."""
        return "Edits a picture that `InvertStep` made ready, to one or more prompts."

    @property
    def inputs(self) -> list[InputParam]:
        """The inversion, the prompts and a mask; the method is the inversion's unless given."""
        return [
            InputParam("inversion", Inversion, required=True, description="Of `InvertStep`."),
            InputParam("prompt", str, required=True, description="One prompt, or a list."),
            InputParam("method", str, description="The method's name."),
            InputParam("mask_image", Picture, description="White where the picture may change."),
            InputParam("exact_background", bool, False, description="Its own pixels outside."),
            InputParam("seed", int, description="In place of a generator."),
            InputParam("output_type", str, "pil", description="pil, np, pt or latent."),
            *SHARED,
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """The pictures, and what is known of each."""
        return [
            OutputParam("images", list, "The edited pictures, as `output_type` says."),
            OutputParam("edits", list, "Each edit with its forwards, seconds and latent."),
        ]

    def __call__(self, components: Any, state: Any) -> tuple[Any, Any]:
        """`CounterflowPipeline.__call__`."""
        block = self.get_block_state(state)
        block.seed = seed_of(block.generator) if block.seed is None else block.seed
        made: Any = self._pipeline(components)(
            inversion=block.inversion,
            prompt=block.prompt,
            method=block.method,
            mask_image=block.mask_image,
            exact_background=block.exact_background,
            output_type=block.output_type,
            **_shared(block),
        )
        block.images, block.edits = made.images, made.edits
        self.set_block_state(state, block)
        return components, state


@cache
def edit_blocks(name: str) -> Any:
    """The blocks for one of diffusers' pipeline classes; ModelError if it has no adapter."""
    edit_class(name)
    steps = [type(step.__name__, (step,), {"family": name}) for step in (InvertStep, EditStep)]
    facts = {
        "__module__": __name__,
        "__doc__": "Inverts a picture and edits it.",
        "description": "Edits a picture by a method of Counterflow.",
        "block_classes": steps,
        "block_names": ["invert", "edit"],
    }
    return type("CounterflowBlocks", (SequentialPipelineBlocks,), facts)


CODE = """from counterflow.plugins.diffusers import edit_blocks

CounterflowBlocks = edit_blocks("{name}")
"""


def write_blocks(folder: str | Path, model: str = "toybox") -> Path:
    """Write a folder that `ModularPipeline.from_pretrained(…, trust_remote_code=True)` opens.

    It holds no weights: `load_components` reads them from `model`, a bundled one, a pipeline folder
    or a repository, `owner/name` or `owner/name@revision`. The code in it is one import of
    Counterflow. Raises ModelError for a model that cannot be edited, and InputError for a folder
    that cannot be written.
    """
    named, revision = repository(model) if local_folder(model) is None else (model, None)
    found, name = find(named, {"revision": revision})
    with refusing(model):
        index = diffusers.DiffusionPipeline.load_config(found, revision=revision)
    blocks = edit_blocks(name)()
    parts = {each.name: index.get(each.name, (None, None)) for each in blocks.expected_components}
    facts = {each.name: index.get(each.name) for each in blocks.expected_configs}
    source = str(Path(found).resolve()) if Path(found).is_dir() else found
    components = {
        part: (None, None, _origin(part, hint, source, revision)) for part, hint in parts.items()
    }
    version = {"_diffusers_version": diffusers.__version__}
    files = {
        "counterflow_blocks.py": CODE.format(name=name),
        "modular_config.json": _json(
            {"_class_name": "CounterflowBlocks"}
            | version
            | {"auto_map": {"ModularPipelineBlocks": "counterflow_blocks.CounterflowBlocks"}}
            | {"requirements": {"counterflow": ""}}
        ),
        "modular_model_index.json": _json(
            {"_class_name": "ModularPipeline", "_blocks_class_name": "CounterflowBlocks"}
            | version
            | components
            | facts
        ),
    }
    for file, text in files.items():
        save_bytes_atomically(Path(folder) / file, text.encode())
    return Path(folder)


def _origin(part: str, hint: Any, source: str, revision: str | None) -> dict[str, Any]:
    """Where a part comes from, as diffusers' index says it; from nowhere if the model has none."""
    there = hint[0] is not None
    return {
        "type_hint": tuple(hint),
        "pretrained_model_name_or_path": source if there else None,
        "subfolder": part,
        "variant": None,
        "revision": revision,
    }


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"


def _shared(block: Any) -> dict[str, Any]:
    """What both steps hand on."""
    return {
        "negative_prompt": block.negative_prompt,
        "num_inference_steps": block.num_inference_steps,
        "guidance_scale": block.guidance_scale,
        "generator": block.seed,
        "rows": block.rows,
        **(block.settings or {}),
    }
