"""What the tests of editing share: a scene, its prompts, watching a model, and a plain loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones.base import Site
from counterflow.controls.align import text_map
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.methods.base import Method
from counterflow.methods.run import Run as MethodRun
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample

SCENE = sample(3)
SOURCE = caption(SCENE)
TARGETS = [
    f"look, {caption(SCENE.but(kind='frog', color='pink'))}",  # so that every token moves
    caption(SCENE.but(arms="up" if SCENE.arms == "down" else "down")),
]
LONG = " ".join(f"{SOURCE} and" for _ in range(8))


FEW: dict[str, dict[str, Any]] = {
    "chordedit": {"steps": 1},
    "dnaedit": {"skip_steps": 1},
    "kv-edit": {"skip_steps": 1},
}
"""What methods need, that a few steps of them can be made."""
MOVING = FEW | {"paired": {"least": 0.0}, "paired-short": {"least": 0.0}}
"""And that they change a picture of a random model, whose cells change by little."""


def inverted(editor: Editor, steps: int = 6, iterations: int = 1, **options: Any) -> Inversion:
    return editor.invert(render(SCENE), SOURCE, steps=steps, iterations=iterations, **options)


def by_pipeline(
    editor: Editor, prompt: str, steps: int, guidance: float, seed: int, size: tuple[int, int]
) -> Any:
    """The latents that a bundled model's own pipeline ends with, as that gives them."""
    pipeline: Any = editor.backbone.pipeline  # type: ignore[attr-defined]
    return pipeline(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance,
        width=size[0],
        height=size[1],
        generator=torch.Generator().manual_seed(seed),
        output_type="latent",
        max_sequence_length=editor.backbone.length,  # type: ignore[attr-defined]
    ).images


def running(
    editor: Editor, inversion: Inversion, how: Method, targets: Sequence[str] = (), **options: Any
) -> MethodRun:
    """What a method sees of an inversion's picture and some targets."""
    prompts = [editor.backbone.embed(target) for target in targets]
    maps = [how.row_map(inversion.conditioning, each) for each in prompts]
    known = inversion.trajectory
    grid = known.grid if known else how.grid(editor.backbone, inversion.size)
    return MethodRun(
        editor.backbone,
        inversion.image,
        grid,
        inversion.conditioning,
        editor.negative,
        prompts,
        maps,
        **options,
    )


def noise(editor: Editor, seed: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, *editor.backbone.latent_shape((64, 64)), generator=generator)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def hooks(backbone: Any) -> int:
    """Forward hooks and pre-hooks anywhere in the model. (Transformers keeps some of its own in the
    text encoders.)
    """
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for model in (backbone.transformer, backbone.vae)
        for module in model.modules()
    )


@contextmanager
def watched(modules: Mapping[str, nn.Module | Site]) -> Iterator[list[tuple[str, Any]]]:
    """Outputs of modules, in the order of their calls, as they are when our hook comes; what
    enters them at sites that are so.
    """
    seen: list[tuple[str, Any]] = []
    handles = []
    for name, each in modules.items():
        module = each.module if isinstance(each, Site) else each
        if isinstance(each, Site) and each.entering is not None:
            hook = partial(lambda name, place, _m, args: seen.append((name, args[place])), name)
            handles.append(module.register_forward_pre_hook(partial(hook, each.entering)))
        else:
            hook = partial(lambda name, _m, _inputs, output: seen.append((name, output)), name)
            handles.append(module.register_forward_hook(hook))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def poisoned(parameter: Tensor) -> Iterator[None]:
    """NaN in one parameter, for a while."""
    before = parameter.data.clone()
    parameter.data.fill_(math.nan)
    try:
        yield
    finally:
        parameter.data.copy_(before)


def mapped(target: Tensor, source: Tensor, rows: list[int | None]) -> Tensor:
    """Row by row, the source's where there is one."""
    return torch.stack(
        [target[:, j] if i is None else source[[0] * len(target), i] for j, i in enumerate(rows)], 1
    )


def by_hand(
    editor: Editor,
    inversion: Inversion,
    target: str,
    guidance: float = 2.0,
    text: int = 0,
    values: int = 0,
    start: int = 0,
    padding: bool = False,
) -> Tensor:
    """The method's page as a plain loop: text features of the source in steps before `text`, those
    of padding with `padding`, image values before `values`, the source on its stored latents,
    Euler from `start`. Every forward has one row, and guidance is written out.
    """
    backbone, stored = editor.backbone, inversion.trajectory
    conditioning = backbone.embed(target)
    rows = text_map(inversion.conditioning.segments, conditioning.segments, conditioning.length)
    for segment in conditioning.segments:
        for row, kind in enumerate(segment.kinds, segment.start):
            rows[row] = None if kind == "pad" and not padding else rows[row]
    blocks = backbone.transformer.transformer_blocks
    x = stored[start]
    for k in range(start, stored.grid.steps):
        s, s_next = stored.grid[k], stored.grid[k + 1]
        modules: dict[str, nn.Module] = {}
        for i, block in enumerate(blocks):
            if k < text:
                modules[f"text {i}"] = block.norm1_context
            if k < values:
                modules[f"value {i}"] = block.attn.to_v
        with watched(modules) as outputs:
            backbone.velocity(stored[k], s, inversion.conditioning)
        source = dict(outputs)

        def replace(name: str, out: Any, source: dict[str, Any] = source) -> Any:
            if name.startswith("value"):
                return source[name]
            if isinstance(out, tuple):
                return mapped(out[0], source[name][0], rows), *out[1:]
            return mapped(out, source[name], rows)

        u = backbone.velocity(x, s, editor.negative)
        handles = [
            module.register_forward_hook(lambda _m, _i, out, name=name: replace(name, out))
            for name, module in modules.items()
        ]
        c = backbone.velocity(x, s, conditioning)
        for handle in handles:
            handle.remove()
        x = x + (s_next - s) * (u + guidance * (c - u))
    return x


class Meter:
    """A progress callback that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.labels: set[str] = set()

    def __call__(self, label: str, made: int, expected: int) -> None:
        self.told.append((made, expected))
        self.labels.add(label)

    def agrees(self, steps: int) -> bool:
        """One call a step, each with the number made so far and of the same number in all."""
        return self.told == [(made, steps) for made in range(1, steps + 1)]


# The command line

PROMPT = caption(sample(1))
TARGET = caption(sample(1).but(color="blue"))
FAST = ["--method", "ftedit", "--steps", "4", "--set", "iterations=1"]

Run = Callable[..., tuple[int, str, str]]


def edit_args(picture: Path, model: str, output: Path, *more: str | Path) -> list[str | Path]:
    words = ["--source", PROMPT, "--target", TARGET]
    return ["edit", picture, *words, "-o", output, "--model", model, *FAST, *more]


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One clear line on stderr with these words, nothing on stdout, and the documented code."""
    got, out, err = result
    lines = [line for line in err.splitlines() if "warning:" not in line]
    assert (got, out, len(lines)) == (code, "", 1), err
    assert lines[0].startswith("counterflow: ")
    for word in words:
        assert word in lines[0]
