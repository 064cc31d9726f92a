"""What was found by trying the command line: codes, and what reaches a terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

import counterflow.cli
import counterflow.edit.editor
import counterflow.edit.plan
import counterflow.trust.expecting
from counterflow.images import read_settings
from tools import PROMPT, TARGET, Run, edit_args, refused

"".encode("utf-8-sig")  # like the modules above, while it may be read: see `nobody`
ESCAPE = "\x1b]0;mine\x07\x1b[31m"


@pytest.fixture
def nobody(picture: Path) -> Iterator[Path]:
    """A folder with a picture, seen as a user who may read and write only what all may."""
    with TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        (home / "a.png").write_bytes(picture.read_bytes())
        for folder, mode in (("out", 0o777), ("sealed", 0o555), ("hidden", 0o000)):
            (home / folder).mkdir()
            (home / folder).chmod(mode)
        root = os.getuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)
        try:
            yield home
        finally:
            if root:
                os.setresuid(0, 0, 0)
            for folder in ("out", "sealed", "hidden"):
                (home / folder).chmod(0o755)


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    "output",
    ["sealed/o.png", "sealed/new/o.png", "hidden/o.png", "hidden/new/o.png", "a.png/o.png"],
)
def test_places_that_may_not_be_written(output: str, nobody: Path, run: Run) -> None:
    """Whether or not they may be looked into; before a model loads."""
    refused(run(*edit_args(nobody / "a.png", "toybox", nobody / output)), 2, "cannot be written")
    args = edit_args(nobody / "a.png", "toybox", nobody / "out" / "o.png")
    refused(run(*args, "--grid", nobody / output), 2, "cannot be written")


@pytest.mark.fault("F17", "F19")
@pytest.mark.parametrize(
    ("option", "code"),
    [("--model", 3), ("--weights", 2), ("--lora", 2), ("--mask", 2)],
)
def test_places_that_may_not_be_read(option: str, code: int, nobody: Path, run: Run) -> None:
    where = nobody / "hidden" / ("x.png" if option == "--mask" else "x.safetensors")
    args = edit_args(nobody / "a.png", "toybox", nobody / "out" / "o.png")
    refused(run(*args, option, where), code, "ermission denied")
    refused(run(*edit_args(nobody / "hidden" / "a.png", "toybox", nobody / "out" / "o.png")), 2)


@pytest.mark.fault("F20", "19")
@pytest.mark.parametrize(
    "index",
    [
        '{"_class_name": ' + "[" * 100_000,
        "[]",
        '{"_class_name": ["pipeline", "Mine"]}',
        '{"_class_name": null}',
        b"\xff\xfe",
    ],
    ids=["deep", "list", "own class", "null", "bytes"],
)
def test_indexes_that_are_none(index: str | bytes, picture: Path, run: Run, tmp_path: Path) -> None:
    """The code of a pipeline's own, which is beside it, is not run."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_bytes(index if isinstance(index, bytes) else index.encode())
    (model / "pipeline.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(run(*edit_args(picture, str(model), tmp_path / "o.png")), 3, "model")
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault("F21")
def test_loops_of_links(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """As picture, model, folder of the output; an output that is one is replaced."""
    for name in ("loop", "loop.png"):
        (tmp_path / name).symlink_to(name)
    loop = tmp_path / "loop"
    refused(run(*edit_args(loop.with_suffix(".png"), model, tmp_path / "o.png")), 2, "loop.png")
    refused(run(*edit_args(picture, str(loop), tmp_path / "o.png")), 3, "loop")
    refused(run(*edit_args(picture, model, loop / "o.png")), 2, "loop")
    assert run(*edit_args(picture, model, tmp_path / "loop.png"))[0] == 0
    assert not (tmp_path / "loop.png").is_symlink()


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "n" * 5000 + ".png"])
def test_names_that_are_too_long(name: str, picture: Path, run: Run, tmp_path: Path) -> None:
    refused(run(*edit_args(picture, "toybox", tmp_path / name)), 2, "too long")
    refused(run(*edit_args(tmp_path / name, "toybox", tmp_path / "o.png")), 2, "too long")
    refused(run(*edit_args(picture, name, tmp_path / "o.png")), 3)


@pytest.mark.fault("F22")
@pytest.mark.parametrize("count", [900, 1000, 100_000])
@pytest.mark.parametrize("setting", ["iterations", "text_ratio", "text_words", "text_blocks"])
def test_a_thousand_brackets(
    setting: str, count: int, picture: Path, run: Run, tmp_path: Path
) -> None:
    for value in ("[" * count, "[" * count + "]" * count, '{"a":' * count + "1" + "}" * count):
        args = edit_args(picture, "toybox", tmp_path / "o.png", "--set", f"{setting}={value}")
        refused(run(*args), 2, setting)


@pytest.mark.fault("15", "F18")
@pytest.mark.parametrize("text", ["a \udcff cat", "", "  "])
@pytest.mark.parametrize("option", ["--source", "--target", "--negative"])
def test_prompts_that_are_none(
    option: str, text: str, picture: Path, run: Run, tmp_path: Path
) -> None:
    """A stray byte of the command line, or nothing; of the negative prompt nothing is usual."""
    if option == "--negative" and not text.strip():
        pytest.skip("it is empty by default")
    args = edit_args(picture, "toybox", tmp_path / "o.png")
    if option in args:
        args[args.index(option) + 1] = text
    else:
        args += [option, text]
    refused(run(*args), 2)
    refused(run("generate", "a \udcff cat", "-o", tmp_path / "o.png"), 2)
    refused(run("generate", " ", "-o", tmp_path / "o.png"), 2, "is empty")


@pytest.mark.fault("15")
def test_brackets_and_emoji_are_words(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    args = edit_args(picture, model, tmp_path / "o.png", "--target", "a [red] [[🐈‍⬛ (cat)")
    args[args.index("-o") + 1] = tmp_path / "{n}.png"
    code, out, _ = run(*args)
    assert code == 0 and "a [red] [[🐈‍⬛ (cat)" in out
    assert read_settings(tmp_path / "2.png")["target"] == "a [red] [[🐈‍⬛ (cat)"


@pytest.mark.fault("15", "F26")
def test_a_prompt_of_ten_thousand_words(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """Is told once, and briefly; the picture's record has it whole."""
    long = " ".join(["cat"] * 10_000)
    args = edit_args(picture, model, tmp_path / "{n}.png", "--target", long)
    code, out, err = run(*args)
    assert code == 0 and len(out) < 1000
    said = [line for line in err.splitlines() if "too long" in line]
    assert len(said) == 1 and len(said[0]) < 500
    assert read_settings(tmp_path / "2.png")["target"] == long


@pytest.mark.fault("F27")
def test_no_escape_reaches_a_terminal(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """Of a prompt, a file's name, an option; in results, warnings and errors."""
    out = tmp_path / f"{ESCAPE}.png"
    args = edit_args(picture, model, out, "--target", f"a {ESCAPE} cat, (red:1.3)")
    args[args.index("-o") + 1] = tmp_path / (ESCAPE + "{n}.png")
    made = run(*args)
    assert made[0] == 0 and r"\x1b]0;mine\x07" in made[1] and "no word is weighted" in made[2]
    several = [
        made,
        run(*edit_args(tmp_path / f"{ESCAPE}none.png", model, out)),
        run(*edit_args(picture, f"{ESCAPE}/x", out)),
        run(*edit_args(picture, model, out, f"--{ESCAPE}")),
        run(*edit_args(picture, model, out, "--set", f"{ESCAPE}=1")),
        run("methods", ESCAPE),
        run("generate", f"a {ESCAPE}", "-o", out, "--model", model, "--steps", "1"),
        run("toybox", "draw", "-o", out),
    ]
    for code, said, err in several:
        assert code in (0, 2, 3) and not set(said + err) & {"\x1b", "\x07"}


# Records


def altered(path: Path, **changes: Any) -> Path:
    """A picture whose record says something else."""
    info = PngImagePlugin.PngInfo()
    info.add_text("counterflow", json.dumps(read_settings(path) | changes))
    out = path.with_name("altered.png")
    Image.open(path).save(out, pnginfo=info)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of the bundled model, beside its source."""
    folder = tmp_path_factory.mktemp("made")
    for args in (
        ["toybox", "draw", "-o", folder / "a.png"],
        [*edit_args(folder / "a.png", "toybox", folder / "o.png"), "--no-check"],
    ):
        with pytest.raises(SystemExit) as stop:
            counterflow.cli.main([str(each) for each in args])
        assert not stop.value.code
    return folder / "o.png"


@pytest.mark.fault("F13", "F14", "F15", "F16")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise_seed": "x"}, "noise_seed must be a valid integer"),
        ({"noise_seed": -1}, "noise_seed must be greater"),
        ({"seed": -1}, "seed must be greater"),
        ({"seed": 1.5}, "seed must be"),
        ({"target": 3}, "target must be a valid string"),
        ({"target": ""}, "target must say something"),
        ({"target": "\ud800"}, "half a character"),
        ({"source": ["a"]}, "source must be a valid string"),
        ({"turns": "abc"}, "turns must be a valid list"),
        ({"turns": ["a"] * 100_000}, "turns must have at most 100 items"),
        ({"image": "a\0.png"}, "image must be a path"),
        ({"image": "/dev/zero"}, "a device"),
        ({"cast": "x"}, "cast must be a valid boolean"),
        ({"settings": [1]}, "settings must be a valid dictionary"),
        ({"settings": {"steps": 10**400}}, "steps is a whole number"),
        ({"command": "bench"}, "made by 'bench', which cannot be replayed"),
        ({"command": None}, "does not say which command made it"),
        ({"model": "/home/else/model"}, "--model /home/else/model"),
        ({"model": "else/model"}, "--model else/model"),
        ({"weights": "/w.safetensors"}, "--weights /w.safetensors"),
        ({"lora": ["/l.safetensors=1"]}, "--lora /l.safetensors=1"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
def test_records_of_strangers(changes: dict[str, Any], said: str, made: Path, run: Run) -> None:
    """Are refused before anything that they name is opened."""
    refused(run("replay", altered(made, **changes)), 2, said)


@pytest.mark.fault("F16")
def test_pictures_that_cannot_be_replayed(run: Run, tmp_path: Path) -> None:
    run("toybox", "draw", "-o", tmp_path / "d.png")
    refused(run("replay", tmp_path / "d.png"), 2, "made by 'toybox draw', which cannot be replayed")


@pytest.mark.fault("F25")
def test_a_replay_that_differs(made: Path, run: Run) -> None:
    code, out, _ = run("replay", altered(made, target=f"{TARGET} at night"))
    assert code == 5 and "largest difference" in out
    assert run("replay", made, "--json")[0] == 0


@pytest.mark.fault("F24", "3")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_benchmark_with_failed_cases(
    more: list[str], picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """A picture that is cut short and one that is missing; the others are made."""
    images = tmp_path / "set" / "annotation_images"
    images.mkdir(parents=True)
    data = picture.read_bytes()
    (images / "a.png").write_bytes(data)
    (images / "b.png").write_bytes(data[: len(data) // 2])
    item = {"original_prompt": PROMPT, "editing_prompt": TARGET, "editing_type_id": "1", "mask": []}
    items = {name: item | {"image_path": f"{name}.png"} for name in "abc"}
    (images.parent / "mapping_file.json").write_text(json.dumps(items))
    args = ["bench", "--cases", images.parent, "-o", tmp_path / "r", "--model", model]
    code, out, _ = run(*args, "--method", "euler", "--set", "steps=2", "--workers", "1", *more)
    assert code == 5 and ("failed, and tried again by another run: 2" in out or more)
    results = [json.loads(p.read_text()) for p in (tmp_path / "r").glob("euler*/[abc].json")]
    assert sorted(each["error"] is None for each in results) == [False, False, True]
