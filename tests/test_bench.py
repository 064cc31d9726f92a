"""Measurements, the demo, grids of pictures and metrics, on a tiny model and against oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr

from counterflow.backbones.sd3 import SD3
from counterflow.bench import demo
from counterflow.bench.composed import compose, measure_composed
from counterflow.bench.judged import judge_edit
from counterflow.bench.measure import draw_cases, measure_edits, summarise
from counterflow.edit.editor import Editor
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.metrics import mse, psnr
from counterflow.sheet import MARK, Cell, sheet
from counterflow.toybox import judge
from counterflow.toybox.edits import CATEGORIES

pictures = arrays(np.uint8, (6, 5, 3))
quick = settings(max_examples=40, deadline=None)


@quick
@given(pictures, pictures)
def test_psnr_and_mse_against_two_libraries(a: np.ndarray, b: np.ndarray) -> None:
    """Whole pictures: scikit-image and torchmetrics say the same."""
    assert mse(a, b) == pytest.approx(mean_squared_error(a / 255, b / 255))
    if (a == b).all():
        assert psnr(a, b) == math.inf
        return
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255))
    theirs = torch_psnr(torch.tensor(a).double(), torch.tensor(b).double(), data_range=255.0)
    assert psnr(a, b) == pytest.approx(theirs.item(), rel=1e-4)


@quick
@given(pictures, pictures, arrays(bool, (6, 5)))
def test_masked_metrics_see_only_the_mask(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> None:
    """Equal to the metric of the chosen pixels alone; nothing chosen is no value."""
    if not mask.any():
        assert mse(a, b, mask) is None and psnr(a, b, mask) is None
        return
    assert mse(a, b, mask) == pytest.approx(mean_squared_error(a[mask] / 255, b[mask] / 255))
    outside = np.where(mask[..., None], b, 255 - b)
    assert mse(a, outside, mask) == mse(a, b, mask)


def test_measured_figures(tiny: SD3) -> None:
    """One case of each category, its cost, and figures that the pictures confirm."""
    invert, edit = InvertSettings(steps=2, iterations=1), EditSettings()
    measured = measure_edits(Editor(tiny), judge.load(), len(CATEGORIES), 40, invert, edit)
    assert [m.edit.category for m in measured] == list(CATEGORIES)
    for m in measured:
        assert m.forwards == 4 + 6
        mask = m.edit.mask()
        source, truth, result = (np.asarray(p) for p in (m.source, m.truth, m.result))
        assert m.background_psnr == psnr(source, result, ~mask)
        near, far = mse(result, truth, mask), mse(result, source, mask)
        assert near is not None and far is not None and m.moved == (near < far)
        reading = next(judge.load().read([m.result]))
        assert (m.success, m.kept) == judge_edit(m.edit, reading)
    rows = summarise(measured)
    assert [row["category"] for row in rows] == [*CATEGORIES.values(), "all"]
    assert rows[-1]["cases"] == len(measured) and rows[-1]["forwards"] == 10
    assert rows[-1]["moved"] == pytest.approx(np.mean([m.moved for m in measured]))
    assert draw_cases(measured).height > 128


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
    """At least eight edits over at least six kinds, all in the grid, and a row for each."""
    editor = Editor(tiny)
    invert = editor.invert
    monkeypatch.setattr(editor, "invert", lambda *a, **k: invert(*a, **k, steps=2, iterations=0))
    made = demo.run(editor, 3)
    edits = [row for row in made.rows if row["edit"] not in ("inversion", "reconstruction")]
    assert len(edits) >= 8 and len({row["edit"] for row in edits}) >= 6
    assert all(row["change"] for row in edits)
    assert all((row["background PSNR"] is None) == (row["edit"] == "change style") for row in edits)
    assert sum(row["forwards"] for row in made.rows) == 2 * (2 + 2 + 6 + 4 * 4)
    assert made.sheet.width > made.sheet.height > 400


@quick
@given(st.integers(1, 9), st.integers(1, 4), st.text("ab ", max_size=60))
def test_sheets_hold_every_cell(count: int, columns: int, text: str) -> None:
    """Every picture is there, whatever the shapes and texts."""
    colors = [(10 * i + 5, 200, 90) for i in range(count)]
    cells = [Cell(Image.new("RGB", (8 + i, 9), c), text) for i, c in enumerate(colors)]
    drawn = {color for _, color in sheet(cells, columns, 40).getcolors(1 << 20)}  # type: ignore[union-attr]
    assert set(colors) <= drawn


def test_sheets_mark_words() -> None:
    """Marked words are drawn in the marking colour, others not."""
    picture = Image.new("RGB", (40, 40))

    def marks(*spans: tuple[int, int]) -> int:
        drawn = sheet([Cell(picture, "a blue cat", spans)], 1).getcolors(1 << 20)
        return {color: n for n, color in drawn}.get(MARK, 0)  # type: ignore[union-attr]

    assert marks() == 0 < marks((2, 6)) < marks((2, 6), (7, 10))
    with pytest.raises(ValueError, match="cell"):
        sheet([], 1)
