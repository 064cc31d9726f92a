"""Pictures in and out of the command line: streams, forms of files, masks, Edit.save."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterflow.cli import main
from counterflow.edit.editor import Editor
from counterflow.edit.masks import feather, grow
from counterflow.images import load, read_settings
from tools import PROMPT, TARGET, Run, edit_args, refused

Piped = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def piped(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Piped:
    """Run the command line with bytes on standard input: exit code, stdout as bytes, stderr."""

    def run(data: bytes, *args: str | Path) -> tuple[int, bytes, str]:
        source = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", source)
        with pytest.raises(SystemExit) as stop:
            main([str(each) for each in args])
        out, err = capsysbinary.readouterr()
        return int(stop.value.code or 0), out, err.decode()

    return run


def pixels(source: Path | bytes) -> np.ndarray:
    return np.asarray(load(source), int)


def test_from_standard_input_to_standard_output(
    picture: Path, model: str, piped: Piped, tmp_path: Path
) -> None:
    """The picture as from a file, and nothing else on stdout; replayed with --image."""
    data, file = picture.read_bytes(), tmp_path / "from-file.png"
    assert piped(b"", *edit_args(picture, model, file))[0] == 0
    code, made, err = piped(data, *edit_args(Path("-"), model, Path("-")))
    assert code == 0 and "forwards" in err
    assert np.array_equal(pixels(made), pixels(file))
    told = read_settings(made)
    assert told["image"] == "-"
    assert told | {"image": "picture.png"} == read_settings(file) | {"image": "picture.png"}
    refused(_texts(piped(made, "replay", "--model", model, "-")), 2, "give -o")
    refused(_texts(piped(made, "replay", "--model", model, "-", "-o", "-")), 2, "--image")
    code, again, err = piped(made, "replay", "--model", model, "-", "--image", picture, "-o", "-")
    assert code == 0 and "the same picture" in err
    assert np.array_equal(pixels(again), pixels(made))


def _texts(result: tuple[int, bytes, str]) -> tuple[int, str, str]:
    return result[0], result[1].decode(), result[2]


def test_every_command_that_takes_a_picture_takes_standard_input(
    picture: Path, model: str, piped: Piped, tmp_path: Path
) -> None:
    data, words = picture.read_bytes(), ["--source", PROMPT, "--model", model, "--steps", "3"]
    stored = tmp_path / "a.safetensors"
    assert piped(data, "invert", "-", *words, "-o", stored)[0] == 0 and stored.exists()
    code, made, err = piped(data, "reconstruct", "-", *words, "-o", "-")
    assert code == 0 and "largest latent difference" in err
    assert pixels(made).shape == (128, 128, 3)
    assert piped(data, "check", "-", *words[:4])[0] == 0
    assert b"kind" in piped(data, "toybox", "judge", "-")[1]
    grid = ["--target", TARGET, "--methods", "sdedit", "--grid", tmp_path / "grid.png"]
    assert piped(data, "compare", "-", *words[:4], "--set", "steps=3", *grid)[0] == 0
    code, made, _ = piped(b"", "generate", "a cat", "--model", model, "--steps", "2", "-o", "-")
    assert code == 0 and read_settings(made)["prompt"] == "a cat"
    code, made, err = piped(b"", "toybox", "draw", "--seed", "5", "-o", "-")
    assert code == 0 and read_settings(made)["caption"] in err


def test_streams_that_cannot_be_are_refused(
    picture: Path, model: str, piped: Piped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a model is loaded."""
    standard = Path("-")
    monkeypatch.setattr(Editor, "load", lambda *_: pytest.fail("it was loaded"))
    args = edit_args(picture, model, standard)
    refused(_texts(piped(b"", *args, "--json")), 2, "--json")
    refused(_texts(piped(b"", *args, "--target", "a dog")), 2, "one output")
    for data in (b"", b"no picture"):
        refused(_texts(piped(data, *edit_args(standard, model, standard))), 2, "the picture")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    refused(_texts(piped(b"", *args)), 2, "pipe it on")


def test_a_terminal_is_no_picture(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    refused(run(*edit_args(Path("-"), model, tmp_path / "a.png")), 2, "nothing is piped in")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_files_are_replayed(
    suffix: str, picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """The new picture is compared as such a file stores it, so it is the same."""
    out = tmp_path / f"made{suffix}"
    assert run(*edit_args(picture, model, out, "--quality", "60"))[0] == 0
    assert read_settings(out)["quality"] == 60
    code, text, _ = run("replay", "--model", model, out)
    again = tmp_path / f"made.replay{suffix}"
    assert code == 0 and f"{again}: the same picture, as" in text and "quality 60" in text
    assert read_settings(again) == read_settings(out)
    assert np.array_equal(pixels(again), pixels(out))
    code, text, _ = run("replay", "--model", model, out, "-o", tmp_path / "whole.png", "--json")
    assert json.loads(text)["largest_difference"] == 0
    assert not np.array_equal(pixels(tmp_path / "whole.png"), pixels(out))
    refused(run(*edit_args(picture, model, out, "--quality", "0")), 2, "--quality")


def test_what_a_form_cannot_hold_is_refused_before_a_model_loads(
    picture: Path, model: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Editor, "load", lambda *_: pytest.fail("it was loaded"))
    args = ["edit", picture, "--source", PROMPT, "--target", "cat " * 20_000, "--model", model]
    refused(run(*args, "-o", tmp_path / "a.jpg"), 2, "65000 bytes", ".png")
    Image.new("RGB", (16_400, 2_100)).save(picture)
    args = ["reconstruct", picture, "--source", PROMPT, "--model", model]
    refused(run(*args, "-o", tmp_path / "a.webp"), 2, "16383 pixels", ".png")


def test_a_found_mask_is_kept(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """As it was found: given back with the same options it makes the same picture."""
    shape = ["--mask-grow", "3", "--mask-feather", "6", "--exact-background"]
    kept, out = tmp_path / "mask.png", tmp_path / "auto.png"
    auto = ["--mask", "auto", *shape, "--save-mask", kept]
    assert run(*edit_args(picture, model, out, *auto))[0] == 0
    found = np.asarray(Image.open(kept).convert("L")) == 255
    assert found.any() and not found.all()
    given = tmp_path / "given.png"
    assert run(*edit_args(picture, model, given, "--mask", kept, *shape))[0] == 0
    assert np.array_equal(pixels(given), pixels(out))
    for path in (out, given):
        told = read_settings(path)
        assert (told["mask_grow"], told["mask_feather"]) == (3, 6)
        assert (
            json.loads(run("replay", "--model", model, path, "--json")[1])["largest_difference"]
            == 0
        )
    outside = feather(grow(found, 3), 6) == 0
    assert np.array_equal(pixels(out)[outside], pixels(picture)[outside])
    some = ["--target", "a dog", "--mask", "auto", "--save-mask", tmp_path / "m{n}.png"]
    assert run(*edit_args(picture, model, tmp_path / "many", *some))[0] == 0
    assert (tmp_path / "m1.png").exists() and (tmp_path / "m2.png").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--mask-grow", "3"], "--mask-grow needs a mask"),
        (["--mask-feather", "3"], "--mask-feather needs a mask"),
        (["--mask", "auto", "--mask-grow", "-1"], "--mask-grow is a whole number from 0"),
        (["--mask", "auto", "--mask-feather", "2000"], "--mask-feather is a whole number from 0"),
        (["--save-mask", "m.png"], "--save-mask"),
        (["--mask", "auto", "--save-mask", "m.jpg"], ".png"),
    ],
    ids=str,
)
def test_mask_options_that_mean_nothing_are_refused(
    options: list[str], word: str, picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    refused(run(*edit_args(picture, model, tmp_path / "e.png", *options)), 2, word)


def test_an_edit_of_python_is_saved_and_replayed(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """From a file by itself; what was in memory is named; what no file holds is refused."""
    editor = Editor.load(model)
    inversion = editor.invert(picture, PROMPT, "ftedit", steps=3, iterations=1)
    edit = editor.edit(inversion, TARGET, seed=3, guidance=1.5)
    cli = tmp_path / "cli.png"
    how = ["--method", "ftedit", "--steps", "3", "--set", "iterations=1", "--guidance", "1.5"]
    words = ["--source", PROMPT, "--target", TARGET, "--seed", "3", "--no-check"]
    assert run("edit", picture, *words, *how, "--model", model, "-o", cli)[0] == 0
    for name in ("a.png", "folder/a.webp"):
        out = tmp_path / name
        edit.save(out)
        told, theirs = read_settings(out), read_settings(cli)
        assert {k: v for k, v in theirs.items() if told.get(k, v) != v} == (
            {"inversion_seed": 3, "image": "picture.png"} if "/" in name else {"inversion_seed": 3}
        )
        code, text, _ = run("replay", "--model", model, out, "--json")
        assert code == 0 and json.loads(text)["largest_difference"] == 0


def test_an_edit_of_pictures_in_memory(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """`replay` asks for both files, and knows them by their pixels."""
    editor, out = Editor.load(model), tmp_path / "a.png"
    mask = np.zeros((128, 128), bool)
    mask[30:90, 30:90] = True
    drawn = tmp_path / "mask.png"
    Image.fromarray(mask).save(drawn)
    inversion = editor.invert(Image.open(picture), PROMPT, "ode", steps=3)
    editor.edit(inversion, TARGET, mask=mask, exact_background=True).save(out)
    refused(run("replay", "--model", model, out), 2, "--image")
    refused(run("replay", "--model", model, out, "--image", picture), 2, "--mask")
    copy = tmp_path / "other.bmp"
    Image.open(picture).save(copy)
    code, text, _ = run("replay", "--model", model, out, "--image", copy, "--mask", drawn, "--json")
    assert code == 0 and json.loads(text)["largest_difference"] == 0
    Image.open(picture).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(copy)
    refused(
        run("replay", "--model", model, out, "--image", copy, "--mask", drawn), 2, "not the image"
    )
    Image.fromarray(~mask).save(drawn)
    refused(
        run("replay", "--model", model, out, "--image", picture, "--mask", drawn), 2, "not the mask"
    )


def test_an_edit_that_no_file_can_begin_is_saved_but_not_replayed(
    picture: Path, model: str, run: Run, tmp_path: Path, one: Any
) -> None:
    editor = Editor.load(model)
    inversion = editor.invert(picture, PROMPT, steps=3, iterations=0)
    edit = editor.edit(inversion, TARGET)
    mask = np.zeros((128, 128), bool)
    mask[:50] = True
    unlike = {
        "a turn": editor.edit(editor.after(inversion, edit), PROMPT),
        "given noise": editor.edit(inversion, TARGET, noise=editor.noise(1, inversion.size)),
        "a soft mask": editor.edit(inversion, TARGET, mask=feather(mask, 3)),
        "in memory": one.edit(one.invert(picture, PROMPT, steps=2, iterations=0), TARGET),
    }
    for why, each in unlike.items():
        each.save(tmp_path / "a.png")
        told = read_settings(tmp_path / "a.png")
        assert told["target"] == each.target and told["identity"]
        refused(run("replay", "--model", model, tmp_path / "a.png"), 2, "cannot be replayed", why)


def test_what_is_unknown_is_told_once(picture: Path, run: Run, tmp_path: Path) -> None:
    """Of all prompts together, however often they are asked for."""
    words = ["--source", f"{PROMPT} quux", "--target", "a blorp", "--target", "a blorp frotz"]
    more = ["--set", "steps=1", "--set", "unguided=0", "--mask", "auto", "-o", tmp_path / "many"]
    code, _, err = run("edit", picture, *words, *more)
    assert code == 0
    assert err == "counterflow: warning: the model never learned 'quux', 'blorp', 'frotz'\n"
