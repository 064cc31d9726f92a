"""`bench cost`: what it counts, replays and weighs, against counts of our own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterflow.backbones.opening import load_adapter
from counterflow.bench.cost import ALL, Meter, measure, methods, peak
from counterflow.edit.editor import Editor
from tiny import TINY
from tools import TARGETS, distance, inverted, watched
from tools import Meter as Told

MIB = 1 << 20


@pytest.fixture(scope="module")
def own() -> Editor:
    backbone = load_adapter(TINY["sd3"].build(), "sd3")
    backbone.area = 64 * 64
    return Editor(backbone)


def test_it_counts_and_compares(own: Editor) -> None:
    """Forwards as in the documents' table, N = 2 and I = 1; both orders' edits are the same."""
    told = Told()
    chosen = {k: v for k, v in methods(2, 1).items() if k in ("ftedit", ALL, "paired")}
    found = measure(own, chosen, 1, progress=told)
    forwards = {name: list(row["forwards"].values()) for name, row in found["methods"].items()}
    assert forwards == {"ftedit": [4, 6, 10, 4], ALL: [8, 8, 16, 16], "paired": [0, 20, 20, 10]}
    batches = {name: row["largest batch"] for name, row in found["methods"].items()}
    assert batches == {"ftedit": 5, ALL: 6, "paired": 6}
    assert found["largest relative difference of latents"] < 1e-3
    for row in found["methods"].values():
        assert 0 < row["time"]["wall"] < row["time with encoders"]["wall"]
        memory = row["memory"]
        assert memory["weights"] < min(memory["run"], memory["plain"])
        assert memory["ratio"] == memory["run"] / memory["plain"]
    assert found["methods"][ALL]["time of all passes"] == {"wall": 1.0, "processor": 1.0}
    assert told.labels == {"timing", "memory"}


def test_the_bare_forwards_are_the_runs_own(own: Editor) -> None:
    """The same inputs in the same order, and afterwards the backbone is as it was."""
    inversion, before = inverted(own), dict(vars(own.backbone))
    meter, net = Meter(own.backbone), {"net": own.backbone.transformer}
    with watched(net) as made, meter.watching():
        own.edit(inversion, TARGETS[0], text_ratio=0)
    with watched(net) as again:
        meter.bare()
    assert vars(own.backbone) == before
    assert len(made) == len(again) == len(meter.calls) == 6
    for (_, a), (_, b) in zip(made, again, strict=True):
        assert distance(a[0], b[0]) == 0


def test_peak_memory_is_what_is_held_at_once(own: Editor) -> None:
    """Two tensors together count together, one after the other once."""

    def together() -> Any:
        return [torch.zeros(MIB, dtype=torch.uint8) for _ in range(2)]

    def in_turn() -> None:
        for _ in range(2):
            torch.zeros(MIB, dtype=torch.uint8)

    for work, size in ((together, 2 * MIB), (in_turn, MIB)):
        found = peak(own.backbone, work)
        assert found is not None
        assert size <= found[0] - found[1] < size + 4096
    pipeline = own.backbone.pipeline
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    numbers = sum(p.numel() for part in parts for p in part.parameters())
    assert found[1] >= 4 * numbers


@pytest.mark.parametrize(
    ("args", "word"),
    [(["cost", "--scenes", 0], "scenes"), (["cost", "--steps", 0], "steps"), ([], "output")],
)
def test_bad_usage_is_refused(run: Any, args: list[Any], word: str) -> None:
    code, out, error = run("bench", *args)
    assert code == 2 and not out and word in error
