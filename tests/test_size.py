"""`bench size`: models of released ones' sizes, here cut to almost nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from counterflow.bench import size
from counterflow.cli.size import NAMES
from counterflow.toybox.train import stage
from tools import refused


def test_the_published_configurations() -> None:
    """Built without memory: the numbers of weights that the models are known by."""
    import torch

    for model, billions in (("sd3.5-medium", 2.24), ("flux.1-dev", 11.9)):
        released = size.MODELS[model]
        with torch.device("meta"):
            net = released.build(released.blocks).transformer
        count = sum(p.numel() for p in net.parameters()) / 1e9
        assert count == pytest.approx(billions, abs=0.06), model
    assert tuple(size.MODELS) == NAMES


def test_an_edit_is_measured(run: Any) -> None:
    # The default, but on CPUs that do not compute in it, where it takes a minute.
    kind = "bfloat16" if stage.quick_in_bfloat16(stage.CPU) else "float32"
    options = ["--size", "64x96", "--blocks", "2", "--dtype", kind, "--json"]
    code, out, _ = run("bench", "size", "sd3.5-medium", *options)
    found = json.loads(out)
    (row,) = found["sizes"]
    assert code == 0 and row["finite"] and row["size"] == "64x96"
    assert row["forwards"] == {"invert": 4, "edit": 6}
    assert row["kept"] > 0 and row["peak"] > row["weights"] > 3e8


def test_what_is_refused(run: Any) -> None:
    refused(run("bench", "size", "sd4"), 2, "sd3.5-medium or flux.1-dev")
    refused(run("bench", "size", "flux.1-dev", "--blocks", "4"), 2, "--blocks is 2 whole numbers")
    refused(run("bench", "size", "flux.1-dev", "--size", "500x500"), 2, "multiples of 16")
    refused(run("bench", "size", "flux.1-dev", "--size", "512"), 2, "--size is 2 whole numbers")
    refused(run("bench", "size", "flux.1-dev", "--dtype", "int8"), 2, "dtype is one of")
