"""The command line of the toy world: what it draws, judges, measures and makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterflow.cli import measures
from counterflow.images import read_settings
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import VALUES, sample
from tools import Run, refused


def test_toybox_draw(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("toybox", "draw", "--seed", "3", "-o", tmp_path / "s.png", "--json")
    made = json.loads(out)
    assert code == 0
    assert made["scene"] == sample(3).to_dict() and made["caption"] == caption(sample(3))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "s.png")), np.asarray(render(sample(3))))


def test_toybox_draws_a_sheet(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    code, said, _ = run("toybox", "draw", "--seed", "3", "--count", "12", "-o", out, "--json")
    assert code == 0 and len(json.loads(said)["scenes"]) == 12
    assert read_settings(out)["count"] == 12
    assert Image.open(out).width > 10 * 128


def test_toybox_judge(run: Run, tmp_path: Path) -> None:
    """Every field that the scene has, with a probability; a table without --json."""
    scene = sample(4).but(thing="none")
    render(scene, 256).save(tmp_path / "s.png")
    code, out, _ = run("toybox", "judge", tmp_path / "s.png", "--json")
    read = json.loads(out)
    assert read.pop("picture")["known"] is True
    assert code == 0 and set(read) == set(VALUES) - {"count", "thing_color"}
    assert all(0 <= each["probability"] <= 1 for each in read.values())
    assert read["background"]["value"] == scene.background
    code, out, _ = run("toybox", "judge", tmp_path / "s.png")
    assert code == 0 and re.search(rf"background +{scene.background}", out)
    refused(run("toybox", "judge", tmp_path / "no.png"), 2, "no.png")


def test_toybox_cases(run: Run, tmp_path: Path) -> None:
    """A folder in PIE-Bench's format; what is not empty, or was trained on, is refused."""
    made = ["--per-category", "1", "--seed", "8"]
    code, out, _ = run("toybox", "cases", *made, "-o", tmp_path / "c", "--json")
    assert code == 0 and json.loads(out)["cases"] == 10
    assert len(json.loads((tmp_path / "c" / "mapping_file.json").read_text())) == 10
    refused(run("toybox", "cases", *made, "-o", tmp_path / "c"), 2, "not an empty folder")
    trained = ["--seed", str(10**9 + 5), "-o", tmp_path / "d"]
    refused(run("toybox", "cases", *trained), 2, "not fresh")
    refused(run("toybox", "cases", "--per-category", "0", "-o", tmp_path / "d"), 2, "per-category")
    refused(run("toybox", "cases", "--size", "8", "-o", tmp_path / "d"), 2, "size")
    assert not (tmp_path / "d").exists()


def test_toybox_obey(run: Run, model: str, tmp_path: Path) -> None:
    """Per field, their mean and the share all right, of any pipeline; and the pictures."""
    fast = ["--steps", "2", "--count", "3", "--model", model]
    code, out, _ = run("toybox", "obey", *fast, "--sheet", tmp_path / "o.png", "--json")
    made = json.loads(out)
    assert code == 0 and set(made["fields"]) == set(VALUES) and made["count"] == 3
    known = [row["accuracy"] for row in made["fields"].values() if row["accuracy"] is not None]
    assert made["mean"] == pytest.approx(sum(known) / len(known))
    assert made["all right"] == pytest.approx(1 - len(made["wrong"]) / 3)
    assert Image.open(tmp_path / "o.png").width > 300
    code, out, _ = run("toybox", "obey", *fast)
    assert code == 0 and "all right" in out and "judge on held-out" in out
    refused(run("toybox", "obey", "--count", "0"), 2, "count")
    refused(run("toybox", "obey", "--seed", str(10**9)), 2, "not fresh")
    refused(run("toybox", "obey", "--steps", "0"), 2, "steps")


def test_toybox_composed(run: Run, model: str) -> None:
    """A row for each kind and one for all, as JSON or as a table over the judge's accuracy."""
    few = ["--count", "2", "--model", model]
    code, out, _ = run("toybox", "composed", *few, "--json")
    made = json.loads(out)
    assert code == 0 and [row["cases"] for row in made["categories"]] == [1, 1, 2]
    assert set(made["judge"]["round_trips"]) == set(VALUES)
    code, out, _ = run("toybox", "composed", *few)
    assert code == 0 and "change object" in out and "judge on held-out" in out
    refused(run("toybox", "composed", "--seed", str(10**9 - 1)), 2, "not fresh")
    refused(run("toybox", "composed", "--count", "0"), 2, "count")


def test_toybox_gallery(run: Run, model: str, tmp_path: Path) -> None:
    """Three rows of source, edit and truth for each kind; no scene of the training."""
    fast = ["--model", model, "--set", "steps=1", "--set", "iterations=0"]
    code, out, _ = run("toybox", "gallery", "-o", tmp_path / "g.png", *fast, "--json")
    made = json.loads(out)
    assert code == 0 and made["edits"] == 30 == measures.GALLERY and 0 <= made["successes"] <= 30
    record = read_settings(tmp_path / "g.png")
    assert record["command"] == "toybox gallery"
    assert (record["method"], record["settings"]["steps"]) == ("ftedit", 1)
    trained = ["toybox", "gallery", "-o", tmp_path / "h.png", "--seed", str(10**9 - 29)]
    refused(run(*trained), 2, "not fresh")
