"""One picture by many methods: `counterflow compare`."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterflow.bench.compare import compare
from counterflow.cli.variants import variants
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.images import load, read_settings
from counterflow.methods import registry
from counterflow.methods.registry import Variant
from tools import PROMPT, SOURCE, TARGET, TARGETS, Run, refused

SHORT = ["--set", "steps=4"]


def args(picture: Path, model: str, *more: str | Path) -> list[str | Path]:
    words = ["--source", PROMPT, "--target", TARGET]
    return ["compare", picture, *words, "--model", model, *SHORT, *more]


def test_a_comparison_is_each_methods_own_edit(
    picture: Path, model: str, run: Run, tmp_path: Path
) -> None:
    """Pictures, forwards and settings are those of `edit`; the grid shows all."""
    grid, folder = tmp_path / "grid.png", tmp_path / "each"
    some = "euler,flowedit,ftedit"
    code, out, err = run(
        *args(picture, model, "--methods", some, "--grid", grid, "-o", folder, "--json")
    )
    assert (code, err) == (0, "")
    told = json.loads(out)["methods"]
    assert [each["name"] for each in told] == [f"{n},steps=4" for n in some.split(",")]
    for each, name in zip(told, some.split(","), strict=True):
        alone = tmp_path / f"{name}.png"
        command = [
            ["edit" if a == "compare" else a for a in args(picture, model, "--method", name)]
        ]
        code, out, _ = run(*command[0], "-o", alone, "--json")
        assert code == 0
        report = json.loads(out)
        assert each["forwards"] == report["inversion"]["forwards"] + report["edits"][0]["forwards"]
        beside = folder / f"{each['name']}.png"
        assert np.array_equal(np.asarray(Image.open(alone)), np.asarray(Image.open(beside)))
        assert each["settings"]["steps"] == 4 and each["PSNR"] > 0
        assert run("replay", beside, "-o", tmp_path / "again.png", "--model", model)[0] == 0
    assert Image.open(grid).width > 3 * 200


def test_a_method_that_fails_stops_no_other(one: Editor, picture: Path) -> None:
    """Its error stands in its place."""
    good = registry.method("euler", steps=3)
    bad = registry.method("ftedit", steps=3, text_blocks=(99,))
    both = [Variant("bad", "Bad", bad), Variant("good", "Good", good)]
    seen: list[tuple[str, int, int]] = []
    progress = lambda *told: seen.append(told)
    first, second = compare(one, load(picture), SOURCE, TARGETS[0], both, progress=progress)
    assert first.edit is None and "99" in str(first.error)
    assert second.edit is not None and second.error is None
    assert seen == [("methods", 1, 2), ("methods", 2, 2)]


def test_an_error_of_torch_stops_no_other(
    one: Editor, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `bench`: its first line stands in its place."""

    def broken(*_: object) -> None:
        raise RuntimeError("sizes do not match\nat all")

    monkeypatch.setattr(registry.entry("sdedit").load(), "step", broken)
    both = [registry.variant(name, {"steps": "3"}) for name in ("sdedit", "euler")]
    first, second = compare(one, load(picture), SOURCE, TARGETS[0], both)
    assert first.error == "RuntimeError: sizes do not match" and second.edit is not None


def test_all_leaves_out_what_needs_a_mask(
    picture: Path, model: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless there is one; a method that is named is not left out."""
    few = {name: registry.METHODS[name] for name in ("euler", "kv-edit", "paired")}
    monkeypatch.setattr(registry, "entries", lambda: few)
    own = ["--set", "kv-edit:skip_steps=0"]
    drawn = Image.new("L", Image.open(picture).size)
    drawn.paste(255, (0, 0, 20, 20))
    drawn.save(mask := tmp_path / "mask.png")
    for more, made, code in (
        (("--methods", "all"), ["euler", "paired"], 0),
        (("--methods", "all", "--mask", mask), ["euler", "kv-edit", "paired"], 0),
        (("--methods", "euler,kv-edit"), ["euler", "kv-edit"], 5),
    ):
        found, out, err = run(*args(picture, model, *more, *own, "--json", "--no-check"))
        assert out, err
        named = [each["name"].partition(",")[0] for each in json.loads(out)["methods"]]
        assert (found, named) == (code, made)
        assert ("kv-edit edits inside a mask" in err) == ("kv-edit" not in made)


def test_settings_for_all_say_whom_they_do_not_suit() -> None:
    """One method's limits are not another's."""
    with pytest.raises(InputError, match=r"^dnaedit: skip_steps 13 leaves none of the 10 steps"):
        variants(["all"], ["steps=10"], None, None)
    with pytest.raises(InputError, match=r"^skip_steps"):
        variants(["dnaedit"], ["steps=10"], None, None)


def test_a_package_that_is_broken_does_not_take_all_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its method is left out of `all`, and that is said; named, it is an error."""
    theirs = EntryPoint("theirs", "nowhere.at_all:Theirs", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [theirs])
    with pytest.warns(UserWarning, match="method theirs is left out: .*nowhere"):
        chosen = variants(["all"], [], None, None)
    assert [each.name for each in chosen] == list(registry.METHODS)
    with pytest.raises(InputError, match="nowhere"):
        variants(["theirs"], [], None, None)


def test_equal_inversions_are_made_once_and_told_in_full(one: Editor, picture: Path) -> None:
    """As if each method were run alone."""
    named = [registry.variant(name, {"steps": "3"}) for name in ("euler", "directedit", "ode")]
    costs = [each.forwards for each in compare(one, load(picture), SOURCE, TARGETS[0], named)]
    assert costs == [9, 9, 9]


def test_what_to_expect_is_told_once_as_edit_tells_it(
    picture: Path, run: Run, tmp_path: Path
) -> None:
    """The same figures; the sentence names the method that its probabilities are of."""
    words = ["--source", PROMPT, "--target", TARGET, "--json"]
    code, out, _ = run("edit", picture, *words, "-o", tmp_path / "e.png", "--set", "steps=2")
    own = json.loads(out)["edits"][0]["trust"]
    some = ["compare", picture, *words, "--methods", "euler,paired", "--set", "steps=2"]
    code, out, _ = run(*some, "-o", tmp_path)
    told = json.loads(out)["trust"]
    assert code == 0 and 0 < own["success"] < 1 and len(own["places"]) >= len(own["figures"])
    assert told["sentence"].endswith("by paired as it comes.")
    del told["sentence"], own["sentence"]
    assert told == own
    assert read_settings(tmp_path / "euler,steps=2.png")["trust"]["figures"] == own["figures"]
    code, out, _ = run(*some, "--no-check")
    assert json.loads(out)["trust"] is None


def test_where_it_cannot_be_told_edits_are_made(
    picture: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise InputError("no calibration of this version")

    monkeypatch.setattr("counterflow.trust.expecting.find", fails)
    words = ["--source", PROMPT, "--target", TARGET, "--set", "steps=2", "--json"]
    code, out, err = run("compare", picture, *words, "--methods", "euler")
    assert "what to expect cannot be told: no calibration" in err
    told = json.loads(out)
    assert code == 0 and told["trust"] is None and told["methods"][0]["error"] is None


def test_bad_input_is_refused(picture: Path, model: str, run: Run, tmp_path: Path) -> None:
    grid = ["--grid", tmp_path / "g.png"]
    refused(run(*args(picture, model, "--method", "euler")), 2, "--grid")
    refused(run(*args(picture, "/nowhere", *grid, "--methods", "nope")), 2, "nope", "ftedit")
    some = ["--methods", "euler"]
    refused(run(*args(picture, "/nowhere", "--grid", "g.jpg", *some)), 2, ".png")
    refused(run(*args(picture, model, *grid, *some, "--budget", "9")), 2, "--tuned")
    refused(run(*args(tmp_path / "x.safetensors", model, *grid, *some)), 2, "picture")
    every = run(*args(picture, model, *grid, "--method", "ftedit", "--set", "text_blocks=99"))
    assert every[0] == 2 and "no method made an edit" in every[2]


def test_a_method_that_needs_a_mask_says_so(
    one: Editor, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python, before anything is computed."""
    how = registry.method("euler", steps=3)
    monkeypatch.setattr(type(how), "needs_mask", True)
    inversion = one.invert(load(picture), SOURCE, how)
    with pytest.raises(InputError, match="mask"):
        one.edit(inversion, TARGETS[0])
    inside = np.ones((128, 128), bool)
    assert one.edit(inversion, TARGETS[0], mask=inside).forwards > 0


def test_edit_refuses_a_missing_mask_before_any_model_loads(
    picture: Path, model: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Editor, "load", lambda *_: pytest.fail("a model was loaded"))
    words = ["--source", PROMPT, "--target", TARGET, "--model", model, "-o", tmp_path / "e.png"]
    refused(run("edit", picture, *words, "--method", "kv-edit"), 2, "kv-edit", "mask")
