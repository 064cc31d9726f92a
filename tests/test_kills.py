"""A few rounds of what `make faults` does two hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterflow.batch.index import every
from kills import digests, harass, start

COUNT = 400


@pytest.mark.fault("23")
def test_a_batch_that_is_killed(tmp_path: Path) -> None:
    """It ends with every result once, and the bytes of a run that nobody disturbed."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(calm, COUNT, "inline").wait() == 0
    assert harass(killed, COUNT, "processes", rounds=2, seed=1) > 0
    assert start(killed, COUNT, "processes").wait() == 0
    assert digests(killed) == digests(calm) and len(digests(calm)) == COUNT
    rows = every(killed)
    assert [row["state"] for row in rows] == ["done"] * COUNT
    assert {row["file"]: row["digest"] for row in rows} == digests(calm)
    assert list((killed / ".work").iterdir()) == []
