"""What is measured on the bundled world alone, the gallery and the demo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterflow.backbones.base import stacked
from counterflow.backbones.sd3 import SD3
from counterflow.bench import demo
from counterflow.bench.engine import Engine, condition
from counterflow.bench.toy.composed import compose, measure_composed
from counterflow.bench.toy.gallery import draw_gallery
from counterflow.bench.toy.obey import accuracy, obey
from counterflow.edit.editor import Editor
from counterflow.toybox import judge
from counterflow.toybox.captions import caption
from counterflow.toybox.edits import CATEGORIES
from counterflow.toybox.scene import VALUES, sample


def test_composed_embeddings(tiny: SD3) -> None:
    """Equal prompts compose to themselves; a changed word brings its own rows only."""
    one, other = (tiny.embed(f"a {color} cat on the grass") for color in ("red", "blue"))
    name = "encoder_hidden_states"
    assert torch.equal(compose(one, one).tensors[name], one.tensors[name])
    mixed = compose(one, other)
    assert torch.equal(mixed.tensors["pooled_projections"], one.tensors["pooled_projections"])
    rows = (mixed.tensors[name] != one.tensors[name]).any(-1)[0].nonzero().flatten().tolist()
    content = {s.start + i for s in other.segments for i, k in enumerate(s.kinds) if k == "content"}
    assert rows and set(rows) < content
    figures = measure_composed(Editor(tiny), judge.load(), 8, 40, steps=2)
    assert figures[-1]["category"] == "all" and figures[-1]["cases"] == 8
    shares = ("target", "composed", "changed", "way")
    assert all(0 <= row[name] <= 1 for row in figures for name in shares)


def test_the_demo(tiny: SD3, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least eight edits over at least six kinds, all in the grid, and a row for each; all of
    them by our method and by the paper's."""
    editor = Editor(tiny)
    invert, short = editor.invert, {"paired": {"steps": 2}, "ftedit": {"steps": 2, "iterations": 0}}
    monkeypatch.setattr(
        editor, "invert", lambda p, s, m, progress: invert(p, s, m, progress, **short[m])
    )
    made = demo.run(editor, 3)
    edits = [row for row in made.rows if row["edit"] not in ("inversion", "reconstruction")]
    assert len(edits) >= 8 and len({row["edit"] for row in edits}) >= 6
    assert all(row["change"] for row in edits)
    assert all((row["background PSNR"] is None) == (row["edit"] == "change style") for row in edits)
    costs = {"paired": 4 + 4 * 2, "ftedit": 2 + 2 + 6 + 4 * 4}
    for name, cost in costs.items():
        assert sum(row["forwards"] for row in made.rows if row["method"] == name) == 2 * cost
    assert made.sheet.width > 1000 and made.sheet.height > 800


def test_obeying_is_what_generate_makes(tiny: SD3) -> None:
    """Batched pictures are `generate`'s, to rounding; the figures are the readings' own."""
    editor = Editor(tiny)
    made = obey(editor, judge.load(), 3, 50, steps=2, guidance=2.0, batch=2)
    for i, one in enumerate(made):
        alone, _ = editor.generate(caption(sample(50 + i)), 2, 2.0, 50 + i)
        difference = np.abs(np.asarray(one.picture, int) - np.asarray(alone, int))
        assert difference.max() <= 1
    figures = accuracy(made)
    assert set(figures["fields"]) == set(VALUES)
    wrong = sum(bool(one.wrong) for one in made)
    assert figures["all right"] == pytest.approx(1 - wrong / 3)
    assert len(figures["wrong"]) == wrong
    for name, row in figures["fields"].items():
        hits = [one.right[name] for one in made if name in one.right]
        assert row["pictures"] == len(hits)
        assert row["accuracy"] == (pytest.approx(np.mean(hits)) if hits else None)


def test_stacked_prompts_are_a_batch(tiny: SD3) -> None:
    one, other = tiny.embed("a red cat"), tiny.embed("a blue dog at night")
    both = stacked([one, other])
    for name, rows in both.tensors.items():
        assert torch.equal(rows[:1], one.tensors[name])
        assert torch.equal(rows[1:], other.tensors[name])


def test_the_gallery_has_a_row_for_each_kind(tiny: SD3) -> None:
    engine, quick = Engine(Editor(tiny), judge.load()), condition("ftedit", steps=1, iterations=0)
    drawn, good, count = draw_gallery(engine, quick, 70, columns=1, width=100)
    assert count == len(CATEGORIES) == 10 and 0 <= good <= 10
    assert drawn.width > 300 and drawn.height > 10 * 100
