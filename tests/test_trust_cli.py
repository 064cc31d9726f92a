"""`check`, `calibrate`, and what `edit` says of its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from counterflow.backbones.identity import identify
from counterflow.cli import main
from counterflow.images import read_settings
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from counterflow.trust.calibration import Calibration, find, own_folder
from counterflow.trust.fit import LEVELS
from counterflow.trust.report import UNKNOWN
from tools import PROMPT, TARGET, Run, edit_args, refused

SENTENCES = [PROMPT, TARGET, "a sad dog at night", "a blue frog in the snow"]
SIZE = "Edited at 64x64 and enlarged to 128x128: expect blur."
COST = 2 * len(LEVELS) + 1


@pytest.fixture(autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No calibrations of whoever runs the tests."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def calibrated(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the tiny model by pictures of its own."""
    folder = tmp_path_factory.mktemp("calibrated")
    (folder / "prompts.txt").write_text("\n\n".join(SENTENCES))
    args = ["calibrate", "--model", model, "--prompts", folder / "prompts.txt"]
    with pytest.raises(SystemExit) as stop:
        main([str(each) for each in [*args, "-o", folder / "tiny.json"]])
    assert not stop.value.code
    return folder / "tiny.json"


def adopt(calibration: Path, model: str) -> Calibration:
    """Put a calibration where `edit` and `check` look."""
    own_folder().mkdir(parents=True)
    known = Calibration.read(calibration)
    known.write(own_folder() / f"{identify(model).rpartition('@')[2]}.json")
    return known


def test_a_model_without_a_calibration(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    """`edit` says so and makes no forward for it; `check` gives the figures alone."""
    out = tmp_path / "edit.png"
    report = json.loads(run(*edit_args(picture, model, out, "--json"))[1])
    trust = report["edits"][0]["trust"]
    assert trust == {"sentence": UNKNOWN, "size": SIZE, "forwards": 0}
    assert read_settings(out)["trust"] == trust
    assert UNKNOWN in run(*edit_args(picture, model, out))[1]
    asked = ["check", picture, "--source", PROMPT, "--target", TARGET, "--model", model]
    code, said, _ = run(*asked, "--json")
    found = json.loads(said)
    assert code == 0 and not found["calibrated"] and found["picture"] is None
    assert found["sentences"] == [UNKNOWN] and found["edits"][0]["success"] is None
    assert found["forwards"] == COST and found["inversion_forwards"] == 20
    assert found["figures"]["round trip"] > 0 and found["residual"] > 0
    assert "noise variance" in run(*asked)[1]


def test_a_calibration_of_a_models_own_pictures(
    picture: Path, model: str, calibrated: Path, run: Run, tmp_path: Path
) -> None:
    """It is found by the model's weights; it knows no judge, and gives no probabilities."""
    known = adopt(calibrated, model)
    assert find(identify(model)) == known and known.success is None
    assert "--prompts prompts.txt" in known.made and "noise variance" in known.usual
    out = tmp_path / "edit.png"
    first = json.loads(run(*edit_args(picture, model, out, "--json"))[1])
    trust = first["edits"][0]["trust"]
    assert trust["forwards"] == COST and trust["success"] is None and trust["picture"] is not None
    assert trust["sentence"] and read_settings(out)["trust"]["figures"] == trust["figures"]
    plain = json.loads(run(*edit_args(picture, model, out, "--json", "--no-check"))[1])
    assert plain["edits"][0]["trust"] == {"sentence": "", "size": SIZE, "forwards": 0}
    assert plain["edits"][0]["forwards"] == first["edits"][0]["forwards"], "counted apart"
    assert plain["inversion"]["forwards"] == first["inversion"]["forwards"]
    asked = ["check", picture, "--source", PROMPT, "--model", model, "--json"]
    found = json.loads(run(*asked)[1])
    assert found["calibrated"] and 0 <= found["places"]["noise variance"] <= 1
    other = [*edit_args(picture, model, out, "--json"), "--method", "ftedit", "--steps", "3"]
    trust = json.loads(run(*other)[1])["edits"][0]["trust"]
    assert "noise variance" in trust["noise"] and "noise variance" not in trust["places"]


def test_several_targets_and_turns(
    picture: Path, model: str, calibrated: Path, run: Run, tmp_path: Path
) -> None:
    """Targets share the source's forwards; a turn has a picture of its own."""
    adopt(calibrated, model)
    more = ["--target", "a dog at night", "--json"]
    together = json.loads(run(*edit_args(picture, model, tmp_path / "a", *more))[1])["edits"]
    assert [each["trust"]["forwards"] for each in together] == [COST + 1, 0]
    turns = json.loads(run(*edit_args(picture, model, tmp_path / "b", *more, "--turns"))[1])
    trusts = [each["trust"] for each in turns["edits"]]
    assert [each["forwards"] for each in trusts] == [COST, COST]
    assert trusts[0]["figures"] != trusts[1]["figures"]


def test_evaluate_prints_every_kind(model: str, calibrated: Path, run: Run, tmp_path: Path) -> None:
    adopt(calibrated, model)
    (tmp_path / "p.txt").write_text("\n".join(SENTENCES))
    args = ["calibrate", "--evaluate", "--model", model, "--prompts", tmp_path / "p.txt"]
    code, out, _ = run(*args, "--json")
    found = json.loads(out)
    assert code == 0 and found["probabilities"] == {}
    assert found["kinds"]["noise"]["count"] == 4 and 0 <= found["kinds"]["noise"]["AUC"] <= 1
    low, high = found["kinds"]["noise"]["AUC, 95 %"]
    assert 0 <= low <= found["kinds"]["noise"]["AUC"] <= high <= 1
    code, out, _ = run(*args)
    assert code == 0 and f"{low:.2f} to {high:.2f}" in out
    assert not list(own_folder().glob("*evaluate*"))


def test_refusals_before_a_model_loads(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("one\ntwo\n")
    refused(run("calibrate", "--prompts", tmp_path / "few.txt"), 2, "2 sentences", "at least 4")
    refused(run("calibrate", "--count", "3"), 2, "--count is 4 or more")
    refused(run("calibrate", "--seed", str(10**9)), 2, "not fresh")
    refused(run("calibrate", "-o", tmp_path / "c.png"), 2, ".json")
    refused(run("calibrate", "--evaluate", "--model", model), 2, "has no calibration")
    refused(run("calibrate", "--model", model), 2, "not of the bundled world", "--prompts")
    refused(run("check", tmp_path / "a.safetensors", "--source", "a"), 2, "stored inversion")
    refused(run("check", picture, "--source", " "), 2, "--source is empty")
    refused(run("check", picture, "--source", "a", "--target", " "), 2, "--target is empty")


def test_the_bundled_model_knows_its_world(run: Run, tmp_path: Path) -> None:
    """A large scene with its sentence, with another one, and a picture that is none."""
    render(sample(1), 512).save(tmp_path / "right.png")
    drawn = render(sample(1)).point(lambda value: 255 - value)
    drawn.save(tmp_path / "inverted.png")
    out = tmp_path / "edit.png"
    edit = ["edit", tmp_path / "right.png", "--method", "paired", "--target", TARGET, "-o", out]
    code, said, _ = run(*edit, "--source", PROMPT)
    assert code == 0 and "Expect success 9" in said
    assert "Edited at 128x128 and enlarged to 512x512: expect blur." in said
    trust = read_settings(out)["trust"]
    assert trust["forwards"] == COST and trust["success"] > 0.9 and trust["method"] == "paired"
    assert "by paired as it comes" not in said
    masked = ["--mask", tmp_path / "mask.png", "--source", PROMPT, "-o", tmp_path / "masked.png"]
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (100, 100, 400, 400))
    mask.save(tmp_path / "mask.png")
    code, said, err = run(*edit[:-2], *masked)
    assert code == 0 and "by paired as it comes" in said, err
    wrong = "a purple frog in a room wearing a green hat"
    asked = ["check", tmp_path / "right.png", "--source", wrong]
    assert "Picture and source sentence do not fit each other." in run(*asked)[1]
    asked = ["check", tmp_path / "inverted.png", "--source", PROMPT, "--target", TARGET]
    assert "The picture is unlike what this model draws" in run(*asked)[1]


def test_the_judge_knows_a_picture_that_is_none(run: Run, tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage.data")
    from PIL import Image

    Image.fromarray(skimage.astronaut()).save(tmp_path / "astronaut.png")
    render(sample(5)).save(tmp_path / "scene.png")
    warning = "This is no picture of the bundled world"
    assert warning in run("toybox", "judge", tmp_path / "astronaut.png")[1]
    assert warning not in run("toybox", "judge", tmp_path / "scene.png")[1]
    read = json.loads(run("toybox", "judge", tmp_path / "astronaut.png", "--json")[1])
    assert read["picture"]["known"] is False
