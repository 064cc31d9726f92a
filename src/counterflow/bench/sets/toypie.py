"""ToyPIE: edits of fresh toybox scenes in PIE-Bench's format, with the true edited pictures.

Beside what `counterflow.bench.sets.pie` reads lie `truth_images/`, the true edited picture of each
case under its image's path, and `scenes.json`, both scenes of each and what made the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from counterflow.bench.sets.pie import IMAGES, MAPPING, SIDE, encode_mask
from counterflow.controls.align import changed_words
from counterflow.errors import InputError
from counterflow.images import save_png
from counterflow.progress import Progress
from counterflow.toybox.captions import article, things
from counterflow.toybox.edits import CATEGORIES, EXTRAS, SceneEdit, draw_edit
from counterflow.toybox.render import render
from counterflow.toybox.scene import fields_said, sample

SEED = 10_000
"""First seed of the shipped benchmark."""

PER_CATEGORY = 40

SCENES, TRUTHS = "scenes.json", "truth_images"


def scene_edits(count: int, seed: int) -> list[SceneEdit]:
    """`count` edits of the scenes `seed`, `seed + 1`, …, the categories in turn."""
    order = list(CATEGORIES)
    return [draw_edit(sample(seed + i), order[i % len(order)], seed + i) for i in range(count)]


def scene_count(per_category: int) -> int:
    """How many scenes that is, of successive seeds."""
    return len(CATEGORIES) * per_category


def enough(count: int) -> int:
    """Cases of each category of which so many can be chosen, even of one category alone."""
    return max(count, PER_CATEGORY)


def write_cases(
    folder: Path,
    seed: int = SEED,
    per_category: int = PER_CATEGORY,
    size: int = 128,
    progress: Progress | None = None,
) -> list[SceneEdit]:
    """Write cases to a new or empty folder; pictures of `size`×`size`, masks of 512×512.

    Pictures that fit their masks pixel by pixel, as the published evaluator wants them, have
    size 512. Raises InputError if the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder; name a new one")
    edits = sorted(scene_edits(scene_count(per_category), seed), key=lambda case: case.category)
    mapping, scenes = {}, {}
    for i, case in enumerate(edits):
        number = case_id(case)
        path = f"{case.category}_{CATEGORIES[case.category].replace(' ', '_')}/{number}.png"
        for kind, scene in ((IMAGES, case.source), (TRUTHS, case.target)):
            (folder / kind / path).parent.mkdir(parents=True, exist_ok=True)
            save_png(render(scene, size), folder / kind / path, None)
        mapping[number] = item(case, path, size)
        scenes[number] = {"source": case.source.to_dict(), "target": case.target.to_dict()}
        if progress is not None:
            progress("drawing", i + 1, len(edits))
    record = {"seed": seed, "per_category": per_category, "size": size, "scenes": scenes}
    (folder / SCENES).write_text(json.dumps(record, indent=1) + "\n")
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in mapping.items())
    (folder / MAPPING).write_text(f"{{\n{lines}\n}}\n")
    return edits


def case_id(case: SceneEdit) -> str:
    """Its twelve digits: the category, then the seed of its scenes."""
    return f"{case.category}{case.source.seed:011d}"


def item(case: SceneEdit, path: str, size: int) -> dict[str, Any]:
    """A case as PIE-Bench's mapping has it."""
    before, after = case.prompts
    old, new = changed_words(after, before), changed_words(before, after)
    return {
        "image_path": path,
        "original_prompt": bracketed(before, old),
        "editing_prompt": bracketed(after, new),
        "editing_instruction": instruction(case),
        "editing_type_id": str(case.category),
        "blended_word": blended(before, old, after, new),
        "mask": encode_mask(stretched(case.mask(size))),
    }


Spans = list[tuple[int, int]]


def blended(before: str, old: Spans, after: str, new: Spans) -> str:
    """The word that changes and what it becomes, whatever their articles; else nothing."""
    pair = [
        [word for a, b in spans if (word := prompt[a:b]) not in ("a", "an")]
        for prompt, spans in ((before, old), (after, new))
    ]
    return " ".join(pair[0] + pair[1]) if [len(words) for words in pair] == [1, 1] else ""


def instruction(case: SceneEdit) -> str:
    """The change in words: "change the color from red to blue", "remove the hat"."""
    phrases = []
    both = set(fields_said(case.source)) & set(fields_said(case.target))
    names = {"letter": "sign", "thing_color": f"color of the {case.target.thing}"}
    for name, (before, after) in case.changed.items():
        if name not in both:
            continue  # named with the thing
        if "none" in (before, after) and name in EXTRAS:
            scene = case.source if after == "none" else case.target
            words = {
                "hat": f"{article(scene.hat)} hat",
                "letter": f"a sign saying {scene.letter}",
                "thing": things(scene) if scene.thing != "none" else "",
            }[name]
            phrases.append(f"{'remove' if after == 'none' else 'add'} {words}")
        else:
            phrases.append(f"change the {names.get(name, name)} from {before} to {after}")
    return " and ".join(phrases)


def bracketed(prompt: str, spans: Spans) -> str:
    """The prompt with [brackets] around some words, neighbours in one pair."""
    joined: Spans = []
    for start, stop in spans:
        if joined and not prompt[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    for start, stop in reversed(joined):
        prompt = f"{prompt[:start]}[{prompt[start:stop]}]{prompt[stop:]}"
    return prompt


def stretched(mask: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A square mask at the format's size, each pixel the nearest one."""
    where = np.arange(side) * len(mask) // side
    return mask[where][:, where]
