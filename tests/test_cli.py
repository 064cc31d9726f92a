"""The command line as a user meets it: outputs, JSON, refusals and exit codes."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterflow.cli import show
from counterflow.images import read_settings
from counterflow.methods.registry import METHODS, method
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from tools import FAST, PROMPT, TARGET, Run, edit_args, refused


def test_edit_json(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """The documented keys, the counted forwards, and an exact source."""
    output = tmp_path / "new" / "edit.png"
    code, out, err = run(*edit_args(picture, model, output, "--json"))
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert set(report) == {"inversion", "edits", "settings"}
    assert report["inversion"]["forwards"] == 8 and report["inversion"]["check_forwards"] == 0
    assert report["inversion"]["steps"] == 4 and report["inversion"]["method"] == "ftedit"
    assert report["settings"]["method"] == "ftedit"
    assert report["settings"]["settings"]["iterations"] == 1
    assert 0 <= report["inversion"]["latent_error"] < 1e-5
    assert 0 < report["inversion"]["residual"] < 10
    (edit,) = report["edits"]
    assert (edit["target"], edit["forwards"]) == (TARGET, 12)
    assert edit["found"] is None and Image.open(edit["image"]).size == (128, 128)
    more = ["--method", "uniedit", "--source", PROMPT, "--target", TARGET, "-o", output, "--json"]
    found = json.loads(run("edit", picture, "--model", model, "--steps", "3", *more)[1])
    assert 0 < found["edits"][0]["found"] < 1, "the share inside the mask that it found"


def test_json_measures_the_source_without_controls(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    args = edit_args(picture, model, tmp_path / "edit.png", "--json", "--set", "text_ratio=0")
    report = json.loads(run(*args)[1])
    assert report["edits"][0]["forwards"] == 8
    assert report["inversion"]["check_forwards"] == 4
    assert report["inversion"]["latent_error"] < 1e-5


def test_several_targets(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """A folder gets a file each, further ones cost less; a pattern works; one file does not."""
    args = edit_args(picture, model, tmp_path / "many", "--target", "a dog at night", "--json")
    report = json.loads(run(*args)[1])
    assert [e["forwards"] for e in report["edits"]] == [12, 8]
    names = sorted(p.name for p in (tmp_path / "many").iterdir())
    assert names[1] == "2-a-dog-at-night.png" and len(names) == 2
    pattern = tmp_path / "edit-{n}.png"
    assert run(*edit_args(picture, model, pattern, "--target", "a dog"))[0] == 0
    assert (tmp_path / "edit-2.png").exists()
    one = edit_args(picture, model, tmp_path / "one.png", "--target", "a dog")
    refused(run(*one), 2, "folder", "{n}")


def test_grid_and_mask(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """Outside the mask the picture stays nearer to the reconstruction than without the mask."""
    inside = np.zeros((128, 128), np.uint8)
    inside[:64] = 255
    Image.fromarray(inside).save(tmp_path / "mask.png")
    more = ["--mask", tmp_path / "mask.png", "--grid", tmp_path / "grid.png"]
    assert run(*edit_args(picture, model, tmp_path / "edit.png", *more))[0] == 0
    assert Image.open(tmp_path / "grid.png").width > 2 * 128
    run(*edit_args(picture, model, tmp_path / "free.png"))
    args = ["--source", PROMPT, "-o", tmp_path / "again.png", "--model", model, *FAST]
    run("reconstruct", picture, *args)
    masked, free, again = (
        np.asarray(Image.open(tmp_path / f"{name}.png"), int)[112:]
        for name in ("edit", "free", "again")
    )
    assert np.abs(masked - free).mean() > 0
    assert np.abs(masked - again).mean() < np.abs(free - again).mean()


@pytest.mark.parametrize("command", ["edit", "reconstruct", "generate"])
def test_replay_makes_it_again(
    command: str, picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """Pixel for pixel, from what the PNG carries."""
    out, more = tmp_path / "made.png", ["--model", model]
    args: dict[str, list[str | Path]] = {
        "edit": edit_args(
            picture, model, out, "--set", "attention_ratio=0.5", "--set", "text_blocks=0-1"
        ),
        "reconstruct": ["reconstruct", picture, "--source", PROMPT, "-o", out, *more, *FAST],
        "generate": ["generate", "a cat", "-o", out, *more, "--steps", "3", "--seed", "5"],
    }
    assert run(*args[command])[0] == 0
    code, text, _ = run("replay", out, "--json", *more)
    assert code == 0
    report = json.loads(text)
    assert report["largest_difference"] == 0
    again = tmp_path / "made.replay.png"
    assert read_settings(again) == read_settings(out)
    assert np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(out)))


def test_replay_refuses_another_source(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    run(*edit_args(picture, model, tmp_path / "made.png"))
    render(sample(2)).save(picture)
    refused(run("replay", tmp_path / "made.png", "--model", model), 2, "--image")
    picture.unlink()
    refused(run("replay", tmp_path / "made.png", "--model", model), 2, "picture.png")
    refused(run("replay", Path(__file__)), 2, Path(__file__).name)


def exif_rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    render(sample(1), 96).crop((0, 0, 96, 64)).save(path.with_suffix(".jpg"), exif=exif)


ODD: dict[str, tuple[Callable[[Path], Any], tuple[int, int]]] = {
    "not square": (lambda p: render(sample(1)).crop((0, 10, 128, 90)).save(p), (128, 80)),
    "greyscale": (lambda p: render(sample(1)).convert("L").save(p), (128, 128)),
    "palette": (lambda p: render(sample(1)).quantize(16).save(p), (128, 128)),
    "rgba": (lambda p: render(sample(1)).convert("RGBA").save(p), (128, 128)),
    "odd size": (lambda p: render(sample(1), 101).save(p), (101, 101)),
    "exif": (exif_rotated, (64, 96)),
}


@pytest.mark.fault("11")
@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_keep_their_size(name: str, model: str, run: Run, tmp_path: Path) -> None:
    make, size = ODD[name]
    make(tmp_path / "odd.png")
    (path,) = tmp_path.glob("odd.*")
    assert run(*edit_args(path, model, tmp_path / "edit.png"))[0] == 0
    assert Image.open(tmp_path / "edit.png").size == size


@pytest.mark.fault("15")
def test_long_prompt_is_reported(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    long = "a red cat " * 40
    args = ["edit", picture, "--source", PROMPT, "--target", long, "-o", tmp_path / "e.png"]
    code, _, err = run(*args, "--model", model, *FAST)
    assert code == 0
    said = [line for line in err.splitlines() if "too long" in line]
    assert len(said) == 1, "once, whatever the number of tokenizers"
    assert re.search(r"not seen: '.*' by clip_l, '.*' by clip_g, '.*' by t5", said[0])
    code, _, err = run("generate", long, "-o", tmp_path / "g.png", "--model", model, "--steps", "1")
    assert code == 0 and "too long" in err


@pytest.mark.fault("16")
def test_equal_prompts_are_warned_of(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    args = ["edit", picture, "--source", PROMPT, "--target", PROMPT, "-o", tmp_path / "e.png"]
    code, _, err = run(*args, "--model", model, *FAST)
    assert code == 0 and "equals the source" in err


BAD_OPTIONS = {
    "steps": ["--steps", "0"],
    "iterations": ["--set", "iterations=-1"],
    "guidance": ["--guidance", "nan"],
    "invert_guidance": ["--set", "invert_guidance=nan"],
    "text_ratio": ["--set", "text_ratio=1.5"],
    "attention_ratio": ["--set", "attention_ratio=inf"],
    "attention_parts": ["--set", "attention_parts=w"],
    "attention_tokens": ["--set", "attention_tokens=none"],
    "text_level": ["--set", "text-level=letter"],
    "text_blocks": ["--set", "text_blocks=x"],
    "skip_steps": ["--set", "skip_steps=4"],
    "compensate": ["--set", "compensate=target"],
    "average": ["--set", "average=" + "[" * 100_000],
    "has no setting colour": ["--set", "colour=1"],
    "--set is written as steps=10": ["--set", "iterations"],
    "--set is written as steps": ["--set", "=3"],
    "no method 'none'": ["--method", "none"],
    "flowedit has no setting iterations": ["--method", "flowedit"],
    "dtype": ["--dtype", "int8"],
    "device": ["--device", "toaster"],
    "--nonsense": ["--nonsense"],
    "seed": ["--seed", str(2**70)],
    "blocks 0 to 2": ["--set", "attention_blocks=0-99999999999"],
}


@pytest.mark.fault("17")
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options(name: str, picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    result = run(*edit_args(picture, model, tmp_path / "edit.png", *BAD_OPTIONS[name]))
    refused(result, 2, name)
    assert not (tmp_path / "edit.png").exists()


def test_bad_files(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """Missing, not a picture, a wrong mask, a bad output: refused, by name."""
    out = tmp_path / "edit.png"
    refused(run(*edit_args(tmp_path / "none.png", model, out)), 2, "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    refused(run(*edit_args(tmp_path / "text.png", model, out)), 2, "text.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    args = edit_args(picture, model, out, "--mask", tmp_path / "mask.png")
    refused(run(*args), 2, "mask.png")
    refused(run(*edit_args(picture, model, tmp_path / "edit.gif")), 2, ".png, .jpg")
    refused(run(*edit_args(picture, model, picture / "edit.png")), 2, "folder")
    assert not out.exists()


def test_empty_prompts(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    args = ["-o", tmp_path / "e.png", "--model", model]
    refused(run("edit", picture, "--source", " ", "--target", "a", *args), 2, "--source")
    refused(run("edit", picture, "--source", "a", "--target", "", *args), 2, "--target")


def test_bad_models(picture: Path, run: Run, tmp_path: Path) -> None:
    """No folder, no pipeline, a broken index, an unknown pipeline, missing weights."""
    out = tmp_path / "edit.png"
    refused(run(*edit_args(picture, str(tmp_path / "nowhere"), out)), 3, "nowhere")
    refused(run(*edit_args(picture, str(tmp_path), out)), 3, "model_index.json")
    (tmp_path / "model_index.json").write_text("{")
    refused(run(*edit_args(picture, str(tmp_path), out)), 3, "model_index.json")
    (tmp_path / "model_index.json").write_text('{"_class_name": "OtherPipeline"}')
    refused(run(*edit_args(picture, str(tmp_path), out)), 3, "OtherPipeline")
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    refused(run(*edit_args(picture, str(tmp_path), out)), 3, "cannot be opened")


def test_doctor_and_models(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    code, out, _ = run("doctor", "--json")
    report = json.loads(out)
    assert code == 0 and report["healthy"]
    assert {"python", "torch", "devices", "model toybox"} <= set(report["checks"])
    code, out, _ = run("models", "--json")
    assert code == 0 and json.loads(out)["models"][0]["model"] == "toybox"
    assert "toybox" in run("models")[1] and "diffusers:" in run("doctor")[1]


def test_doctor_survives_a_broken_cache(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's half-downloaded or odd model is listed, and does not make us ill."""
    for name, index in {"a--odd": "[1]", "b--other": '{"_class_name": "Other"}'}.items():
        folder = tmp_path / f"models--{name}" / "snapshots" / "0123456789"
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text(index)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    code, out, _ = run("doctor")
    assert code == 0 and "model a/odd: unusable" in out and "model b/other: unsupported" in out
    listed = {m["model"]: m["state"] for m in json.loads(run("models", "--json")[1])["models"]}
    assert listed["toybox"] == "ready" and listed["b/other"] == "unsupported"


def test_no_command_shows_help(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "") and "reconstruct" in out


def test_nothing_is_written_over(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """An output that is also an input, or another output, is refused before any work."""
    before = picture.read_bytes()
    refused(run(*edit_args(picture, model, picture)), 2, "picture.png")
    out = tmp_path / "e.png"
    refused(run(*edit_args(picture, model, out, "--grid", out)), 2, "e.png")
    run(*edit_args(picture, model, out))
    refused(run("replay", out, "--model", model, "-o", out), 2, "e.png")
    refused(run("replay", out, "--model", model, "-o", picture), 2, "picture.png")
    assert picture.read_bytes() == before


def test_other_weights_are_noticed(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """Replaying with changed weights warns, naming both."""
    mine = tmp_path / "model"
    shutil.copytree(model, mine)
    out = tmp_path / "e.png"
    run(*edit_args(picture, str(mine), out))
    (mine / "scheduler" / "scheduler_config.json").write_text(
        (mine / "scheduler" / "scheduler_config.json")
        .read_text()
        .replace('"shift": 1.0', '"shift": 2.0')
    )
    code, text, err = run("replay", out, "--json", "--model", mine)
    assert code == 5 and "was made by" in err
    assert json.loads(text)["largest_difference"] > 0


def test_progress_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar with the rate and the time left on a terminal's stderr; nothing when piped."""
    with show.progress() as piped:
        piped("editing", 1, 2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with show.progress() as bar:
        for done in range(3):
            bar("editing", done, 2)
            time.sleep(0.01)
    out, err = capsys.readouterr()
    assert out == "" and "editing" in err and "2/2" in err and "a second," in err


def test_methods_are_listed(run: Run) -> None:
    """Each with its title; one with every setting, its default and what it takes."""
    code, out, _ = run("methods", "--json")
    listed = {each["name"]: each for each in json.loads(out)["methods"]}
    assert code == 0 and list(listed) == list(METHODS)
    assert listed["ftedit"]["inverts"] and not listed["flowedit"]["inverts"]
    assert all(each["title"] and each["paper"] and each["doc"] for each in listed.values())
    said = run("methods")[1]
    assert all(name in said for name in METHODS)
    for name in METHODS:
        code, out, _ = run("methods", name, "--json")
        told, made = json.loads(out), method(name)
        assert code == 0 and told["title"] == listed[name]["title"]
        defaults = {each["name"]: each["default"] for each in told["settings"]}
        assert defaults == json.loads(json.dumps(made.to_dict()))
        assert all(each["help"] and each["values"] for each in told["settings"])
        plain = run("methods", name)[1]
        assert all(each in plain for each in defaults)
    refused(run("methods", "none"), 2, "none", "ftedit")
