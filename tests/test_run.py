"""The benchmark's runner: every result once, on disk, whatever stops it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from counterflow.bench import results
from counterflow.files import locked
from counterflow.images import read_settings
from counterflow.methods import registry
from counterflow.toybox.scene import VALUES
from tools import Run, refused

QUICK = ["--set", "steps=2", "--set", "iterations=0"]
NAME = "ftedit,steps=2,iterations=0"


def bench(run: Run, model: str, folder: Path, *more: str | Path) -> tuple[int, str, str]:
    return run("bench", "-o", folder, "--model", model, "--workers", "1", *QUICK, *more)


def test_bench_json(run: Run, model: str, tmp_path: Path) -> None:
    """Per method and kind: means, intervals, counts; every result with its settings."""
    args = ["bench", "-o", tmp_path / "b", "--model", model, "--workers", "1", "--limit", "4"]
    both = ["--method", "ftedit", "--method", "euler", "--set", "steps=2"]
    code, out, err = run(*args, *both, "--set", "ftedit:iterations=0", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert set(told["methods"]) == {NAME, "euler,steps=2"}
    assert told["profile"] == "corrected" and told["seed"] == 10_000
    method = told["methods"][NAME]
    assert list(method["categories"]) == [
        "change object", "add object", "delete object", "change content"
    ]  # fmt: skip
    figures = method["all"]["figures"]
    assert figures["forwards"]["mean"] == 2 + 6 and figures["PSNR"]["count"] == 4
    assert figures["PSNR"]["low"] <= figures["PSNR"]["mean"] <= figures["PSNR"]["high"]
    assert figures["LPIPS"]["n/a"] == 4 and figures["LPIPS"]["mean"] is None
    assert 0 <= figures["kept"]["mean"] <= 1 and figures["distance"]["median"] > 0
    assert 0 <= figures["moved"]["mean"] <= 1 and figures["round trip"]["count"] == 4
    (first, *_) = sorted((tmp_path / "b" / NAME).glob("1*.png"))
    carried = read_settings(first)
    assert (carried["method"], carried["settings"]["steps"]) == ("ftedit", 2)
    method = json.loads((tmp_path / "b" / NAME / "method.json").read_text())
    remade = registry.from_record(method["method"], method["settings"])
    assert remade == registry.method("ftedit", steps=2, iterations=0)
    code, out, _ = run("report", tmp_path / "b", "--json")
    assert code == 0 and (tmp_path / "b" / "report.html").stat().st_size > 10_000


def test_an_interrupted_run_goes_on(run: Run, model: str, tmp_path: Path) -> None:
    """What is there is not made again, what is missing is; more cases may be asked for."""
    folder = tmp_path / "b"
    bench(run, model, folder, "--limit", "3")
    made = sorted((folder / NAME).glob("[0-9]*.json"))
    assert len(made) == 3
    before = {path: path.stat().st_mtime_ns for path in made}
    made[1].unlink()
    assert bench(run, model, folder, "--limit", "4")[0] == 0
    after = sorted((folder / NAME).glob("[0-9]*.json"))
    assert len(after) == 4
    assert all(path.stat().st_mtime_ns == before[path] for path in (made[0], made[2]))
    assert made[1].stat().st_mtime_ns != before[made[1]]


@pytest.mark.fault("24")
def test_results_are_not_mixed(run: Run, model: str, tmp_path: Path) -> None:
    """Other cases, another profile, other settings under a name, a folder of something else."""
    folder = tmp_path / "b"
    bench(run, model, folder, "--limit", "1")
    refused(bench(run, model, folder, "--limit", "1", "--seed", "77"), 2, "10000", "77")
    refused(bench(run, model, folder, "--profile", "pie-compat"), 2, "corrected", "pie-compat")
    refused(bench(run, model, folder, "--limit", "1", "--negative", "fog"), 2, "fog")
    described = folder / NAME / "method.json"
    described.write_text(described.read_text().replace('"guidance": 2.0', '"guidance": 3.0'))
    refused(bench(run, model, folder, "--limit", "1"), 2, "3.0", "2.0")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    refused(bench(run, model, tmp_path / "other"), 2, "other")
    refused(bench(run, model, tmp_path / "c", "--method", "magic"), 2, "magic", "ftedit")
    refused(bench(run, model, tmp_path / "c", "--set", "colour=1"), 2, "colour")
    refused(bench(run, model, tmp_path / "c", "--set", "guidance=-1"), 2, "guidance")
    refused(bench(run, model, tmp_path / "c", "--cases", tmp_path / "nowhere"), 2, "nowhere")
    refused(bench(run, model, tmp_path / "c", "--limit", "0"), 2, "limit")
    refused(bench(run, model, tmp_path / "c", "--seed", "-5"), 2, "seed", "-5")
    refused(bench(run, model, tmp_path / "c", "--seed", str(10**9 - 1)), 2, "not fresh")
    refused(bench(run, model, tmp_path / "c", "--set", "euler:steps=3"), 2, "euler", "not run")
    refused(bench(run, model, tmp_path / "c", "--method", "euler"), 2, "iterations")
    refused(bench(run, model, tmp_path / "c", "--sheet", tmp_path / "m.jpg"), 2, ".png")
    refused(bench(run, model, tmp_path / "c", "--workers", "0"), 2, "workers")
    assert not (tmp_path / "c").exists()


def test_settings_of_every_kind_resume(run: Run, model: str, tmp_path: Path) -> None:
    """What JSON gives back differently is the same; what is no file name becomes one."""
    for change in ('text_words={"a/b":0.4}', "text_blocks=[0,1]", "text_ratio=[0,0.5]"):
        folder = tmp_path / str(len(change))
        more = ["--limit", "1", "--set", change, "--json"]
        for _ in range(2):
            code, out, _ = bench(run, model, folder, *more)
            assert code == (5 if "a/b" in change else 0)
            (method,) = json.loads(out)["methods"].values()
            assert method["all"]["cases"] == 1
            assert method["all"]["errors"] == ("a/b" in change)
        assert sorted(p.name for p in folder.glob("*/method.json")) == ["method.json"]


@pytest.mark.fault("F6", "F7")
def test_pictures_that_are_gone_or_altered(run: Run, model: str, tmp_path: Path) -> None:
    """The report tells of one that is gone, and another run makes both again, byte for byte."""
    folder = tmp_path / "b"
    bench(run, model, folder, "--limit", "3")
    gone, altered, whole = sorted((folder / NAME).glob("*.png"))
    before = {path: path.read_bytes() for path in (gone, altered, whole)}
    gone.unlink()
    altered.write_bytes(whole.read_bytes())
    code, out, _ = run("report", folder, "--json")
    (method,) = json.loads(out)["methods"].values()
    assert code == 0 and method["all"]["errors"] == 1
    assert bench(run, model, folder, "--limit", "3")[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    refused(bench(run, model, folder, "--limit", "2"), 2, "of 3 cases, not of 2")


@pytest.mark.fault("F6")
def test_a_source_that_was_replaced(run: Run, model: str, tmp_path: Path) -> None:
    """Results of two pictures are not mixed."""
    run("toybox", "draw", "--seed", "3", "-o", tmp_path / "a.png")
    items = [{"input_img": "a.png", "source_prompt": "a cat", "target_prompts": ["a dog"]}]
    (tmp_path / "edits.yaml").write_text(json.dumps(items))
    given = ["--cases", tmp_path / "edits.yaml"]
    assert bench(run, model, tmp_path / "b", *given)[0] == 0
    run("toybox", "draw", "--seed", "4", "-o", tmp_path / "a.png")
    refused(bench(run, model, tmp_path / "b", *given), 2, "a.png has changed")


@pytest.mark.fault("24")
def test_two_runs_do_not_share_a_folder(run: Run, model: str, tmp_path: Path) -> None:
    with locked(tmp_path / "b"):
        refused(bench(run, model, tmp_path / "b", "--limit", "1"), 2, "another run")
    assert bench(run, model, tmp_path / "b", "--limit", "1")[0] == 0


def test_a_bad_picture_stops_its_own_case(run: Run, model: str, tmp_path: Path) -> None:
    """A PIE-Bench folder with a damaged picture: an error there, results elsewhere, and a later
    run tries it again.
    """
    run("toybox", "cases", "--per-category", "1", "--seed", "40", "-o", tmp_path / "pie")
    pictures = sorted((tmp_path / "pie" / "annotation_images").rglob("*.png"))
    shutil.copy(pictures[1], tmp_path / "whole.png")
    pictures[1].write_bytes(pictures[1].read_bytes()[:200])
    more = ["--cases", tmp_path / "pie", "--limit", "3", "--json"]
    code, out, _ = bench(run, model, tmp_path / "b", *more)
    all_of = json.loads(out)["methods"][NAME]["all"]
    assert code == 5 and (all_of["cases"], all_of["errors"]) == (3, 1)
    assert all_of["figures"]["PSNR"]["n/a"] == 1 and all_of["figures"]["success"]["count"] == 2
    shutil.copy(tmp_path / "whole.png", pictures[1])
    code, out, _ = bench(run, model, tmp_path / "b", *more)
    assert json.loads(out)["methods"][NAME]["all"]["errors"] == 0


def test_a_picture_is_inverted_once_for_its_targets(run: Run, model: str, tmp_path: Path) -> None:
    """FlowEdit's style: the cost of one inversion is shared, and there is no mask to measure by."""
    run("toybox", "draw", "--seed", "3", "-o", tmp_path / "a.png")
    items = [{"input_img": "a.png", "source_prompt": "a cat", "target_prompts": ["a dog", "a fox"]}]
    (tmp_path / "edits.yaml").write_text(json.dumps(items))
    code, out, _ = bench(run, model, tmp_path / "b", "--cases", tmp_path / "edits.yaml", "--json")
    figures = json.loads(out)["methods"][NAME]["all"]["figures"]
    assert code == 0
    assert figures["forwards"]["mean"] == 1 + (6 + 4) / 2
    assert figures["PSNR"]["n/a"] == figures["success"]["n/a"] == 2
    one, other = sorted(
        path for path in (tmp_path / "b" / NAME).glob("*.json") if path.stem != "method"
    )
    before = other.read_bytes(), other.stat().st_mtime_ns
    one.unlink()
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copytree(
        tmp_path, tmp_path / "elsewhere" / "set", ignore=lambda *_: ["elsewhere", "b"]
    )
    assert bench(run, model, tmp_path / "b", "--cases", moved / "edits.yaml")[0] == 0
    assert one.exists() and (other.read_bytes(), other.stat().st_mtime_ns) == before


def test_workers_find_what_one_process_finds(run: Run, model: str, tmp_path: Path) -> None:
    bench(run, model, tmp_path / "one", "--limit", "3")
    args = ["bench", "-o", tmp_path / "two", "--model", model, "--workers", "2", *QUICK]
    assert run(*args, "--limit", "3")[0] == 0
    one, two = (results.read(tmp_path / name).methods[0].results for name in ("one", "two"))
    assert len(one) == 3
    for a, b in zip(one, two, strict=True):
        assert a.figure("PSNR") == pytest.approx(b.figure("PSNR"), abs=0.01)
        assert (a.case, a.figure("success")) == (b.case, b.figure("success"))


def test_the_table_and_the_sheet(run: Run, model: str, tmp_path: Path) -> None:
    """Per kind and for all, over the judge's accuracy; the pictures in the folder on a sheet."""
    code, out, _ = bench(run, model, tmp_path / "b", "--limit", "2", "--sheet", tmp_path / "m.png")
    header, *rows = out.splitlines()
    for name in ("cases", "success", "kept", "moved", "distance (median)", "PSNR, dB"):
        assert name in header
    assert all(name in header for name in ("round trip, dB", "forwards", "seconds"))
    assert code == 0 and [row.split(NAME)[1].split()[-9] for row in rows[:3]] == ["1", "1", "2"]
    assert "change object" in rows[0] and "judge on held-out" in out
    assert all(field in out for field in VALUES)
    assert Image.open(tmp_path / "m.png").width > 6 * 100


def test_settings_of_one_method(run: Run, model: str, tmp_path: Path) -> None:
    """`NAME:setting` is for that method alone, also where a value has a colon."""
    args = ["bench", "-o", tmp_path / "b", "--model", model, "--workers", "1", "--limit", "1"]
    names = ["--method", "euler", "--method", "ftedit-2", "--set", "steps=2"]
    own = ["--set", "ftedit-2:iterations=1", "--set", 'ftedit-2:text_words={"a:b":0.4}']
    code, out, _ = run(*args, *names, *own, "--json")
    told = json.loads(out)["methods"]
    assert code == 5 and "euler,steps=2" in told and len(told) == 2
    (settings,) = (
        json.loads(path.read_text())["settings"]
        for path in (tmp_path / "b").glob("ftedit-2*/method.json")
    )
    assert settings["iterations"] == 1 and settings["text_words"] == [["a:b", 0.4]]


def test_every_method_runs(run: Run, model: str, tmp_path: Path) -> None:
    """`--method all`: one case of each entry of the registry, none with an error."""
    args = ["bench", "-o", tmp_path / "b", "--model", model, "--workers", "1", "--limit", "1"]
    steps = {name: f"{name}:steps=3" for name in registry.entries()}
    steps |= {"chordedit": "chordedit:n_avg=2", "more": "dnaedit:skip_steps=0"}
    steps |= {"masked": "kv-edit:skip_steps=0"}
    few = [word for each in steps.values() for word in ("--set", each)]
    code, out, _ = run(*args, "--method", "all", *few, "--json")
    told = json.loads(out)["methods"]
    assert code == 0 and {name.split(",")[0] for name in told} == set(registry.entries())
    assert {name: method["all"]["errors"] for name, method in told.items()} == dict.fromkeys(
        told, 0
    )


def test_a_folder_of_before_methods_goes_on(run: Run, model: str, tmp_path: Path) -> None:
    """A record of an inversion and an edit is FTEdit's; with other settings it is refused."""
    folder = tmp_path / "b"
    args = ["bench", "-o", folder, "--model", model, "--workers", "1", "--set", "steps=2"]
    run(*args, "--limit", "1")
    path = folder / "ftedit,steps=2" / "method.json"
    data = json.loads(path.read_text())
    settings = data.pop("settings")
    del data["method"], data["compensated"]
    names = {"window": "average_span", "guidance": "invert_guidance"}
    names |= {name: name for name in ("steps", "iterations", "average", "solver")}
    data["invert"] = {old: settings[new] for old, new in names.items()}
    edit = {name: value for name, value in settings.items() if name not in names.values()}
    data["edit"] = edit | {"exact_background": False}
    path.write_text(json.dumps(data))
    (result,) = path.parent.glob("[0-9]*.json")
    before = result.stat().st_mtime_ns
    assert run("report", folder)[0] == 0
    assert run(*args, "--limit", "2")[0] == 0
    assert result.stat().st_mtime_ns == before and len([*path.parent.glob("[0-9]*.json")]) == 2
    path.write_text(json.dumps(data | {"edit": data["edit"] | {"guidance": 5.0}}))
    refused(run(*args, "--limit", "2"), 2, "guidance 5.0, not 2.0")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "answers.jsonl").write_text("{}")
    for command in (["report", tmp_path / "old"], ["bench", "-o", tmp_path / "old", *args[3:]]):
        refused(run(*command), 2, "earlier version", "answers.jsonl")
