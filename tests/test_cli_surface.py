"""The command line's ways around an edit: stored inversions, batches, turns, masks, generated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterflow.images import read_settings
from counterflow.methods.registry import METHODS, method
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from tools import FAST, PROMPT, TARGET, Run, edit_args, refused


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), int)


def replayed(run: Run, path: Path) -> None:
    """`replay` makes the same picture, and it carries the same settings."""
    code, out, _ = run("replay", path, "--json", "--model", read_settings(path)["model"])
    assert code == 0 and json.loads(out)["largest_difference"] == 0
    assert read_settings(path.with_suffix(".replay.png")) == read_settings(path)


def test_a_stored_inversion_is_edited_without_inverting(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """The same picture as from the picture itself, and its replay."""
    stored, out = tmp_path / "a.safetensors", tmp_path / "from.png"
    words = ["--source", PROMPT, "--model", model, *FAST]
    code, said, _ = run("invert", picture, *words, "-o", stored, "--json")
    told = json.loads(said)
    assert code == 0 and told["inversion"]["forwards"] == 8 and told["file"] == str(stored)
    more = ["--target", TARGET, "--model", model]
    assert run("edit", stored, *more, "-o", out)[0] == 0
    run(*edit_args(picture, model, tmp_path / "direct.png"))
    assert np.array_equal(pixels(out), pixels(tmp_path / "direct.png"))
    replayed(run, out)
    assert run("reconstruct", stored, "--model", model, "-o", tmp_path / "r.png")[0] == 0
    replayed(run, tmp_path / "r.png")
    refused(run("edit", stored, *more, "-o", out, "--source", "a dog"), 2, "--source")
    refused(run("edit", stored, *more, "-o", out, "--steps", "7"), 2, "inverted already")
    refused(run("edit", stored, *more, "-o", out, "--set", "skip_steps=4"), 2, "skip_steps")
    other = ["--method", "directedit"]
    refused(run("edit", stored, *more, "-o", out, *other), 2, "inverted already")
    stored.write_bytes(stored.read_bytes()[:-10])
    refused(run("edit", stored, *more, "-o", out), 2, "a.safetensors")
    refused(run("invert", picture, *words, "-o", tmp_path / "a.pt"), 2, ".safetensors")
    assert run("invert", picture, *words, "-o", tmp_path / "B.SAFETENSORS")[0] == 0
    assert run("edit", tmp_path / "B.SAFETENSORS", *more, "-o", out)[0] == 0


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("rf-inversion", ["--steps", "4", "--set", "gamma=0.4", "--set", "eta_ratio=0-0.5"]),
        ("chordedit", ["--set", "n_avg=2"]),
    ],
)
def test_methods_of_the_field_are_edited_by_name(
    picture: Path, model: str, run: Run, tmp_path: Path, name: str, more: list[str]
) -> None:
    """The seed is that of all their noise; the picture says what made it, and is made again."""
    made = {}
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.png"
        words = ["--source", PROMPT, "--target", TARGET, "--model", model, "--seed", seed]
        code, said, err = run("edit", picture, *words, "-o", out, "--method", name, *more, "--json")
        assert code == 0, err
        assert json.loads(said)["settings"]["method"] == name
        assert read_settings(out)["method"] == name
        replayed(run, out)
        made[seed] = pixels(out)
    assert not np.array_equal(made["1"], made["2"])


@pytest.mark.parametrize(
    ("name", "more"), [("dnaedit", ["--set", "skip_steps=1"]), ("uniedit", ["--set", "alpha=0.5"])]
)
def test_partial_inversions_are_stored_and_edited(
    picture: Path, model: str, run: Run, tmp_path: Path, name: str, more: list[str]
) -> None:
    """The same picture as without storing."""
    stored, words = tmp_path / "a.safetensors", ["--source", PROMPT, "--model", model]
    how = ["--method", name, "--steps", "4", *more]
    code, _, err = run("invert", picture, *words, *how, "-o", stored)
    assert code == 0, err
    ends = ["--target", TARGET, "--model", model]
    code, _, err = run("edit", stored, *ends, "-o", tmp_path / "from.png")
    assert code == 0, err
    run("edit", picture, *words, "--target", TARGET, *how, "-o", tmp_path / "direct.png")
    assert np.array_equal(pixels(tmp_path / "from.png"), pixels(tmp_path / "direct.png"))
    replayed(run, tmp_path / "from.png")


@pytest.mark.fault("26")
def test_an_inversion_of_another_model_is_refused(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    stored = tmp_path / "a.safetensors"
    run("invert", picture, "--source", PROMPT, "--model", model, *FAST, "-o", stored, "--half")
    result = run("edit", stored, "--target", TARGET, "-o", tmp_path / "e.png")
    refused(result, 3, "was made by", "toybox@")


def test_batches_and_turns(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """A batch is its targets; a turn starts from the last edit, and each replays."""
    third = ["--target", "a dog at night", "--json"]
    for name, options in (("one", []), ("batch", ["--batch", "2"]), ("turns", ["--turns"])):
        args = edit_args(picture, model, tmp_path / name, *third, *options)
        code, out, _ = run(*args)
        assert code == 0 and len(json.loads(out)["edits"]) == 2
    last = "2-a-dog-at-night.png"
    one, batch, turns = (pixels(tmp_path / name / last) for name in ("one", "batch", "turns"))
    assert np.abs(one - batch).max() <= 1
    assert np.abs(one - turns).mean() > 10 * np.abs(one - batch).mean()
    replayed(run, tmp_path / "turns" / last)
    assert read_settings(tmp_path / "turns" / last)["turns"] == [TARGET]


def test_masks_found_and_exact(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """`auto` is found and drawn in the grid; with --exact-background nothing changes outside."""
    inside = np.zeros((128, 128), np.uint8)
    inside[:64, :64] = 255
    Image.fromarray(inside).save(tmp_path / "mask.png")
    exact = ["--mask", tmp_path / "mask.png", "--exact-background"]
    assert run(*edit_args(picture, model, tmp_path / "exact.png", *exact))[0] == 0
    outside = inside == 0
    assert np.array_equal(pixels(tmp_path / "exact.png")[outside], pixels(picture)[outside])
    replayed(run, tmp_path / "exact.png")
    auto = ["--mask", "auto", "--grid", tmp_path / "grid.png"]
    assert run(*edit_args(picture, model, tmp_path / "auto.png", *auto))[0] == 0
    assert Image.open(tmp_path / "grid.png").width > 3 * 128
    told = json.loads(run(*edit_args(picture, model, tmp_path / "auto.png", *auto, "--json"))[1])
    assert told["inversion"]["mask_forwards"] == 2 * 2  # two of four steps lie in between
    replayed(run, tmp_path / "auto.png")


def test_a_generated_picture_is_edited_from_its_trajectory(
    model: str, run: Run, tmp_path: Path
) -> None:
    """No inversion; another scene of it from another seed's noise."""
    stored, more = tmp_path / "made.safetensors", ["--model", model]
    made = ["generate", PROMPT, "-o", tmp_path / "made.png", "--steps", "3", *more]
    assert run(*made, "--inversion", stored)[0] == 0
    report = run("edit", stored, "--target", TARGET, "-o", tmp_path / "e.png", "--json", *more)
    assert json.loads(report[1])["inversion"]["forwards"] == 0
    other = ["--noise-seed", "5", "-o", tmp_path / "other.png"]
    assert run("edit", stored, "--target", TARGET, *other, *more)[0] == 0
    assert not np.array_equal(pixels(tmp_path / "e.png"), pixels(tmp_path / "other.png"))
    replayed(run, tmp_path / "other.png")
    ddim = ["generate", PROMPT, "-o", tmp_path / "ddim.png", "--steps", "3", "--solver", "ddim"]
    assert run(*ddim, *more)[0] == 0
    assert np.abs(pixels(tmp_path / "ddim.png") - pixels(tmp_path / "made.png")).max() <= 1
    replayed(run, tmp_path / "ddim.png")


def test_every_window_reaches_the_edit(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    out, keep = tmp_path / "e.png", f"{sample(1).kind}=0.5"
    options = ["text_ratio=0.2-0.8", "attention_ratio=0-0.5", f"text_words={keep}"]
    options += ["average-span=0-1", "solver=ddim"]
    more = [word for option in options for word in ("--set", option)]
    assert run(*edit_args(picture, model, out, *more))[0] == 0
    made = read_settings(out)["settings"]
    assert made["text_ratio"] == [0.2, 0.8] and made["attention_ratio"] == [0, 0.5]
    assert made["text_words"] == [[sample(1).kind, 0.5]]
    assert made["average_span"] == [0, 1] and made["solver"] == "ddim"
    replayed(run, out)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--batch", "0"], "--batch"),
        (["--batch", "2", "--turns"], "--turns"),
        (["--batch", "2", "--mask", "auto"], "--mask auto"),
        (["--exact-background"], "--mask"),
        (["--noise-seed", "1", "--turns"], "--turns"),
        (["--noise-seed", "-1"], "seed"),
        (["--set", "text_words=wooden"], "text_words"),
        (["--set", "text_words=purple=0.4"], "purple"),
        (["--set", "text_ratio=0.8-0.2"], "text_ratio"),
        (["--set", "text_ratio=x"], "text_ratio"),
        (["--set", "solver=heun"], "solver"),
        (["--set", "average_span=0-9"], "average_span"),
        (["--noise-seed", "1", "--set", "skip_steps=1"], "--noise-seed"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(
    options: list[str], word: str, picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    refused(run(*edit_args(picture, model, tmp_path / "e.png", *options)), 2, word)
    assert not (tmp_path / "e.png").exists()


def test_every_target_must_share_a_word_with_a_window(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """Seen before the first target is made, whatever the batch."""
    more = ["--set", f"text_words={sample(1).kind}=0.4", "--target", "a tree"]
    for batch in ("1", "2"):
        args = edit_args(picture, model, tmp_path / "many", *more, "--batch", batch)
        refused(run(*args), 2, "a tree", sample(1).kind)
    assert not (tmp_path / "many").exists()


def test_a_picture_needs_its_sentence(picture: Path, run: Run, tmp_path: Path) -> None:
    render(sample(1)).save(picture)
    refused(run("edit", picture, "--target", "a", "-o", tmp_path / "e.png"), 2, "--source")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_edits_and_is_replayed(
    name: str, picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """From the picture, under its own name in the record; drawn noise has the seed's."""
    steps = 1 if name == "chordedit" else 3
    words = ["--source", PROMPT, "--target", TARGET, "--model", model, "--steps", str(steps)]
    words += ["--set", "skip_steps=1"] if name in ("dnaedit", "kv-edit") else []
    if method(name).needs_mask:
        mask = Image.new("L", Image.open(picture).size)
        mask.paste(255, (0, 0, 80, 80))
        mask.save(tmp_path / "m.png")
        words += ["--mask", str(tmp_path / "m.png")]
    out = tmp_path / "e.png"
    assert run("edit", picture, *words, "--method", name, "--seed", "7", "-o", out)[0] == 0
    made = read_settings(out)
    assert made["method"] == method(name).name and made["settings"]["steps"] == steps
    replayed(run, out)


def test_what_inverts_nothing_stores_nothing(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """In one line."""
    words = [picture, "--source", PROMPT, "--model", model, "--method", "flowedit"]
    for command, out in (("invert", "a.safetensors"), ("reconstruct", "a.png")):
        refused(run(command, *words, "-o", tmp_path / out), 2, "flowedit inverts nothing")


def test_a_stored_inversion_serves_the_methods_that_need_the_same_one(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """Variants of its own method, and one that needs none; its own is taken where none is said."""
    stored, out = tmp_path / "a.safetensors", tmp_path / "e.png"
    words = ["--source", PROMPT, "--model", model, "--method", "ode", "--steps", "3"]
    assert run("invert", picture, *words, "-o", stored)[0] == 0
    more = ["edit", stored, "--target", TARGET, "--model", model, "-o", out]
    for given, expected in (
        ([], "ode"),
        (["--method", "directedit"], "directedit"),
        (["--method", "flowedit"], "flowedit"),
        (["--method", "ftedit", "--set", "iterations=0"], "ftedit"),
    ):
        assert run(*more, *given)[0] == 0
        assert read_settings(out)["method"] == expected
        replayed(run, out)
    for name in ("ddim", "midpoint", "ftedit", "ftedit-reference"):
        refused(run(*more, "--method", name), 2, "inverted already")


def test_a_turn_that_is_inverted_anew_costs_that_too(
    run: Run, picture: Path, model: str, tmp_path: Path
) -> None:
    words = ["--source", PROMPT, "--target", TARGET, "--target", PROMPT, "--turns"]
    args = ["edit", picture, *words, "-o", tmp_path / "t", "--model", model, "--steps", "3"]
    code, out, _ = run(*args, "--method", "directedit", "--json")
    assert code == 0
    assert [each["forwards"] for each in json.loads(out)["edits"]] == [6, 3 + 6]
