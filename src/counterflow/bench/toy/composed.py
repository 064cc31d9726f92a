"""Are the model's text features token-local? The paper's text control rests on it.

A composed embedding takes unchanged tokens from the source prompt and changed ones from the
target, and the pooled vector from the source. If each word's meaning sits in its own tokens,
it draws what the target prompt draws. See docs/decisions/0002-token-local-text.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from counterflow.backbones.base import Conditioning
from counterflow.bench.engine import judge_edit
from counterflow.bench.sets.toypie import scene_edits
from counterflow.bench.toy.obey import generate_batch
from counterflow.controls.rows import replace_rows, row_map
from counterflow.edit.editor import Editor
from counterflow.progress import Progress
from counterflow.toybox.edits import CATEGORIES
from counterflow.toybox.judge import Judge


def compose(source: Conditioning, target: Conditioning) -> Conditioning:
    """The source's embedding of unchanged tokens and of the whole, the target's of changed ones."""
    name = "encoder_hidden_states"
    rows = row_map(source, target)
    mixed = replace_rows(target.tensors[name], source.tensors[name], [rows])
    return replace(target, tensors={**source.tensors, name: mixed})


@torch.no_grad()
def measure_composed(
    editor: Editor,
    judge: Judge,
    count: int,
    seed: int,
    steps: int = 20,
    guidance: float = 3.0,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Generate from source, target and composed embeddings with one noise; compare latents.

    `target` and `composed` are the shares of edits whose pictures the judge reads as having every
    changed field; `changed` is the share whose composed picture is nearer to the target prompt's
    than to the source prompt's; `way` is how far it went, from 0 (source's) to 1 (target's).
    """
    backbone = editor.backbone
    size = editor.square
    rows_of: dict[str, list[dict[str, float]]] = {}
    for i, case in enumerate(scene_edits(count, seed)):
        noise = editor.noise(seed + i, size).repeat(3, 1, 1, 1)
        before, after = (backbone.embed(prompt) for prompt in case.prompts)
        prompts = [before, after, compose(before, after)]
        s, t, c = generate_batch(editor, prompts, noise, steps, guidance).split(1)
        to_target, to_source, whole = ((x - y).norm().item() for x, y in ((c, t), (c, s), (t, s)))
        way = to_source / max(to_source + to_target, 1e-9) if whole else 1.0
        pictures = [editor.picture(x, size) for x in (t, c)]
        whole_prompt, composition = (judge_edit(case, r)[0] for r in judge.read(pictures))
        row = {"target": whole_prompt, "composed": composition, "changed": to_target < to_source}
        rows_of.setdefault(CATEGORIES[case.category], []).append(row | {"way": way})
        if progress is not None:
            progress("composing", i + 1, count)
    rows_of["all"] = [row for rows in list(rows_of.values()) for row in rows]
    return [
        {"category": name, "cases": len(rows)}
        | {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        for name, rows in rows_of.items()
    ]
