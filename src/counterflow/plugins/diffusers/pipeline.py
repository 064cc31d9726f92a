"""A pipeline that edits pictures, called as diffusers' pipelines are.

    pipe = CounterflowPipeline.from_pipe(pipeline)  # or from_pretrained("folder or owner/name")
    pipe(image=picture, source_prompt="a red cat", prompt="a blue cat").images[0]

For each family it is a subclass of that family's own pipeline: loading, saving, LoRAs, devices and
offloading are diffusers' own; only what a call does is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import diffusers
import torch
from diffusers.utils import BaseOutput

from counterflow.backbones.families import UNUSED
from counterflow.backbones.opening import load_backbone, refusing
from counterflow.backbones.registry import (
    adapter_of,
    check_model,
    local_folder,
    pipeline_class,
)
from counterflow.edit.checks import check_mask, chosen, fitting
from counterflow.edit.editor import Edit, Editor, Inversion
from counterflow.errors import InputError
from counterflow.flow import Latent, Step, Watch
from counterflow.methods.base import Method
from counterflow.methods.registry import DEFAULT
from counterflow.methods.run import ROWS
from counterflow.plugins.values import (
    OUTPUTS,
    Generator,
    Picture,
    seed_of,
    to_mask,
    to_output,
    to_picture,
)
from counterflow.progress import Progress

StepEnd = Callable[[Any, int, torch.Tensor, dict[str, Any]], dict[str, Any] | None]
"""diffusers' callback: the pipeline, the number of the step, its timestep, and the tensors that
were asked for; those that it returns are gone on with."""


@dataclass
class CounterflowOutput(BaseOutput):  # type: ignore[misc]
    """What a call returns."""

    images: Any
    """The edited pictures, one for each prompt, in the form that `output_type` says."""
    edits: list[Edit]
    """What is known of each: its forwards, seconds, changed words, latent."""
    inversion: Inversion
    """The source picture, ready for further prompts: give it in place of `image`."""
    seed: int
    """That of all noise; `generator=torch.Generator().manual_seed(seed)` makes the same again."""


class CounterflowPipeline:
    """Edits a picture by any of Counterflow's methods, on any pipeline that has an adapter."""

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    @classmethod
    def from_pretrained(cls, where: str, **options: Any) -> Any:
        """Load a pipeline folder, a repository or a bundled model (`toybox`).

        Options are those of `DiffusionPipeline.from_pretrained`. Raises ModelError for a folder
        that is no pipeline, or one without an adapter.
        """
        if cls is not CounterflowPipeline:
            return super().from_pretrained(where, **options)  # type: ignore[misc]
        found, name = find(str(where), options)
        options = dict.fromkeys(UNUSED[name]) | {"use_safetensors": True} | options
        return edit_class(name).from_pretrained(found, **options)

    @classmethod
    def from_pipe(cls, pipeline: Any, **options: Any) -> Any:
        """An edit pipeline of a loaded one's parts, which both then share.

        `options` replace parts. Nothing is cast unless `dtype` is given, where diffusers' own
        `from_pipe` would cast the shared weights to float32. Raises ModelError for a pipeline
        without an adapter. Offloading is to be enabled again.
        """
        kind: Any = edit_class(type(pipeline).__name__) if cls is CounterflowPipeline else cls
        dtype = options.pop("dtype", options.pop("torch_dtype", None))
        parts, facts = kind._get_signature_keys(kind)
        given = {name: pipeline.components.get(name) for name in parts}
        given |= {name: pipeline.config[name] for name in facts if name in pipeline.config}
        made = kind(**given | options)
        made.register_to_config(_name_or_path=pipeline.config.get("_name_or_path"))
        return made if dtype is None else made.to(dtype=dtype)

    @torch.no_grad()
    def invert(
        self,
        image: Picture,
        source_prompt: str,
        method: Method | str = DEFAULT,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        generator: Generator | None = None,
        rows: int = ROWS,
        **settings: Any,
    ) -> Inversion:
        """Make a picture ready for edits by a method; arguments are those of the call."""
        how = chosen(method, _settings(num_inference_steps, guidance_scale, settings))
        picture, source, seed = to_picture(image), _source(source_prompt), seed_of(generator)
        editor = self._editor(negative_prompt, rows)
        with self._progress() as progress:
            return editor.invert(picture, source, how, progress, seed)

    @torch.no_grad()
    def __call__(
        self,
        image: Picture | None = None,
        prompt: str | Sequence[str] = (),
        source_prompt: str = "",
        negative_prompt: str = "",
        method: Method | str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        mask_image: Picture | None = None,
        exact_background: bool = False,
        inversion: Inversion | None = None,
        generator: Generator | None = None,
        rows: int = ROWS,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **settings: Any,
    ) -> CounterflowOutput | tuple[Any]:
        """Edit a picture: invert it, if the method inverts, and make every prompt's picture.

        `prompt` describes the edited picture, `source_prompt` the given one; several prompts are
        edited in one batch. Results have the picture's size and are the editor's own, to the bit.

        `method` is a name (`counterflow methods`), `paired` by default; its settings are further
        arguments. `num_inference_steps` is its `steps`, `guidance_scale` its `guidance`.
        `mask_image`, white where the picture may change and grey where old and new are mixed, has
        the picture's size; with `exact_background` the picture's own pixels stand outside it.
        `inversion`, of an earlier result or of `invert`, takes the place of `image`,
        `source_prompt` and, unless given, of `method`. `generator` is for methods that draw noise:
        see `seed_of`. `rows` is the most samples in one forward. `callback_on_step_end` may read
        and replace `latents`, one row for each prompt, after each step of the edit.

        Raises InputError for what cannot be, before any forward is made.
        """
        prompts = _prompts(prompt)
        OUTPUTS.check("output_type", output_type)
        watch = self._watch(callback_on_step_end, callback_on_step_end_tensor_inputs)
        settings = _settings(num_inference_steps, guidance_scale, settings)
        if (image is None) == (inversion is None):
            raise InputError("give either image, with source_prompt, or inversion")
        if exact_background and mask_image is None:
            raise InputError("exact_background needs a mask: give mask_image too")
        if inversion is None:
            picture, source = to_picture(image), _source(source_prompt)
            how = chosen(method or DEFAULT, settings)
        else:
            picture, source = inversion.picture, inversion.prompt
            how = fitting(method, settings, inversion)
        mask = None if mask_image is None else to_mask(mask_image, picture.size)
        check_mask(how, mask is not None)
        for each in prompts:
            how.check_prompts(source, each)
        seed = seed_of(generator)
        editor = self._editor(negative_prompt, rows)
        with self._progress() as progress:
            if inversion is None:
                inversion = editor.invert(picture, source, how, progress, seed)
            edits = editor.edit_batch(
                inversion, prompts, how, mask, exact_background, None, seed, progress, watch
            )
        latents = torch.cat([edit.latent for edit in edits])
        images = to_output([edit.image for edit in edits], latents, output_type)
        return CounterflowOutput(images, edits, inversion, seed) if return_dict else (images,)

    def _editor(self, negative: str, rows: int) -> Editor:
        """A fresh one for each call: parts, devices and LoRAs may have changed since the last."""
        return Editor(load_backbone(self), rows=rows, negative=negative)

    def _watch(self, callback: StepEnd | None, names: Sequence[str]) -> Watch | None:
        """diffusers' callback as the edit's loop calls it."""
        if unknown := set(names) - set(self._callback_tensor_inputs):
            raise InputError(
                f"callback_on_step_end_tensor_inputs has {', '.join(sorted(unknown))}; an edit has "
                f"{', '.join(self._callback_tensor_inputs)}"
            )
        made = -1

        def watch(x: Latent, step: Step) -> Latent:
            nonlocal made
            made += 1
            tensors = {"latents": x} if "latents" in names else {}
            assert callback is not None
            returned = callback(self, made, torch.tensor(1000 * step.sigma), tensors) or {}
            changed: Latent = returned.get("latents", x)
            return changed.to(x)

        return None if callback is None else watch

    @contextmanager
    def _progress(self) -> Iterator[Progress]:
        """diffusers' progress bar, one for each thing that is done."""
        bars: dict[str, Any] = {}

        def tell(label: str, made: int, expected: int) -> None:
            if label not in bars:
                bars[label] = self.progress_bar(total=expected)  # type: ignore[attr-defined]
                bars[label].set_description(label)
            bars[label].update(made - bars[label].n)

        try:
            yield tell
        finally:
            for bar in bars.values():
                bar.close()


@cache
def edit_class(name: str) -> Any:
    """The edit pipeline of one of diffusers' pipeline classes; ModelError if it has no adapter.

    It has the same name, so that a pipeline that it saves is loaded as one of that class.
    """
    adapter_of(name)
    family = getattr(diffusers, name)
    facts = {"__module__": __name__, "__qualname__": f"CounterflowPipeline[{name}]"}
    return type(
        name, (CounterflowPipeline, family), facts | {"__doc__": CounterflowPipeline.__doc__}
    )


def find(model: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Where diffusers finds a model, a folder or a repository, and its pipeline class.

    `options` may say which revision of a repository, and how it is reached. Raises ModelError for a
    folder that is no pipeline, and for a pipeline without an adapter.
    """
    check_model(model)
    folder = local_folder(model)
    if folder is not None:
        return str(folder), pipeline_class(folder)
    names = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")
    reached = {name: options[name] for name in names if name in options}
    with refusing(model):
        name = str(diffusers.DiffusionPipeline.load_config(model, **reached)["_class_name"])
    adapter_of(name)
    return model, name


def _settings(
    steps: int | None, guidance: float | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """A method's settings, diffusers' names for two of them included."""
    named = {"steps": steps, "guidance": guidance}
    shared = {name: value for name, value in named.items() if value is not None}
    if twice := sorted(shared.keys() & settings.keys()):
        raise InputError(
            f"{', '.join(twice)} is given twice: num_inference_steps is a method's steps, "
            "guidance_scale its guidance"
        )
    return shared | settings


def _prompts(prompt: str | Sequence[str]) -> list[str]:
    """The prompts, all of which say something."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(isinstance(each, str) and each.strip() for each in prompts):
        raise InputError("prompt is empty: say in a sentence what the picture should become")
    return prompts


def _source(prompt: str) -> str:
    """The source prompt, which says something."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("source_prompt is empty: say in a sentence what the picture shows")
    return prompt
