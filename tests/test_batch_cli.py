"""`batch` with the bundled model: bytes that do not depend on the way they were made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from counterflow.backbones.loading import Loading
from counterflow.batch.items import Rank
from counterflow.bench.sets import toypie
from counterflow.cli.workers import chosen
from counterflow.images import load, read_settings
from counterflow.toybox.render import render
from tools import Run, refused

Launch = Callable[[int, int], None]
QUICK = ["--set", "steps=2", "--no-check"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, the first with two targets, and one that is not there."""
    folder = tmp_path_factory.mktemp("batch")
    lines = []
    for edit in toypie.scene_edits(3, 910_000):
        name = f"{toypie.case_id(edit)}.png"
        render(edit.source).save(folder / name)
        source, target = edit.prompts
        lines.append({"image": name, "source": source, "target": target})
    lines.append(lines[0] | {"target": "a red cat on the beach"})
    lines.append(lines[0] | {"image": "absent.png"})
    path = folder / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def published(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()}


def test_a_batch(run: Run, model: str, manifest: Path) -> None:
    """All but the missing one; the same bytes by two processes as inline; replayable."""
    one, two = manifest.parent / "one", manifest.parent / "two"
    asked = ["--model", model, "--threads", "1", *QUICK, "--json"]
    code, out, err = run("batch", manifest, "-o", one, "--engine", "inline", *asked)
    told = json.loads(out)
    assert code == 5 and "1 of 5 failed" in err
    assert (told["items"], told["done"], told["failed"]) == (5, 4, 1)
    assert "absent.png" in told["failures"][0]["error"]
    assert (one / "results.html").read_text().count("<figure>") == 4
    processes = ["--engine", "processes", "--workers", "2"]
    assert run("batch", "run", manifest, "-o", two, *processes, *asked)[0] == 5
    assert published(one) == published(two) and len(published(one)) == 4
    picture = next((one / "pictures").iterdir())
    carried = read_settings(picture)
    assert carried["settings"]["steps"] == 2 and load(picture).size == (128, 128)
    to = ["-o", manifest.parent / "again.png", "--model", model]
    code, out, _ = run("replay", picture, *to)
    assert code == 0 and "the same picture" in out


def test_what_a_folder_is_asked(run: Run, model: str, manifest: Path) -> None:
    """Status, a deleted result, and trying again what failed."""
    folder = manifest.parent / "three"
    run("batch", manifest, "-o", folder, "--model", model, "--engine", "inline", *QUICK)
    whole = published(folder)
    code, out, _ = run("batch", "status", folder, "--json")
    assert code == 5 and json.loads(out)["done"] == 4
    next((folder / "pictures").iterdir()).unlink()
    code, out, _ = run("batch", "verify", folder, "--json")
    assert code == 5 and len(json.loads(out)["gone"]) == 1
    code, _, err = run("batch", "retry", folder, "--engine", "inline", "--model", model)
    assert code == 5 and "1 of 5 failed" in err and published(folder) == whole
    assert run("batch", "verify", folder)[0] == 0
    refused(run("batch", manifest, "-o", folder, "--model", model, "--seed", "9", *QUICK), 2, "9")


@pytest.fixture(params=["counted", "alone"])
def launched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Put this process in a rank's place, with the store that `torchrun` keeps or without one."""
    if request.param == "counted":
        agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        request.addfinalizer(lambda: agent.delete_key("none"))  # it lives as long as the test
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(agent.port))
    monkeypatch.setenv("WORLD_SIZE", "2")

    def launch(rank: int, attempt: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))

    return launch


def test_ranks_of_torchrun(run: Run, model: str, manifest: Path, launched: Launch) -> None:
    """Each tells its share; the last one writes the page, and exits with what failed of all:
    `torchrun` would end the others.
    """
    folder = manifest.parent / f"ranks {os.environ.get('MASTER_PORT')}"
    asked = ["batch", manifest, "-o", folder, "--model", model, *QUICK]
    told = []
    for n in range(2):
        launched(n, 0)
        for words in (["--engine", "ray"], ["--workers", "2"], ["--address", "ray://x"]):
            refused(run(*asked, *words), 2, "each rank is one worker")
        code, out, _ = run(*asked, "--json")
        told.append(json.loads(out))
        if n or told[0]["items"] < 5:  # shares go by the paths
            assert (code, (folder / "results.html").exists()) == ((0, False), (5, True))[n]
    assert [each["rank"] for each in told] == [0, 1]
    assert sum(each["items"] for each in told) == 5 and sum(each["done"] for each in told) == 4
    assert (folder / "results.html").read_text().count("<figure>") == 4
    codes = []
    for n in range(2):
        launched(n, 1)
        code, out, _ = run("batch", "retry", folder, "--model", model)
        assert out.startswith(f"rank {n} of 2: ")
        codes.append(code)
    assert codes[1] == 5 and len(published(folder)) == 4
    assert codes[0] == 0 or "MASTER_PORT" not in os.environ


def test_a_rank_has_a_share_of_the_cores(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Of its machine's, where several ranks are on it."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    works = chosen(None, None, None, None, Loading(model, device="cpu"), Rank(0, 64))
    assert works.threads == 4


def test_options_that_would_be_ignored(run: Run, model: str, tmp_path: Path) -> None:
    """A folder of pictures has no root, one of PIE-Bench its own sentences."""
    asked = ["-o", tmp_path / "out", "--model", model]
    words = ["--source", "a", "--target", "b"]
    refused(run("batch", tmp_path, *words, "--root", tmp_path, *asked), 2, "--root")
    (tmp_path / "mapping_file.json").write_text("{}")
    refused(run("batch", tmp_path, *words, *asked), 2, "PIE-Bench folder")
    refused(run("batch", tmp_path, "--root", tmp_path, *asked), 2, "--root")


def test_what_is_refused(run: Run, model: str, manifest: Path, tmp_path: Path) -> None:
    """Before a model loads."""
    to = ["-o", tmp_path / "out", "--model", model]
    refused(run("batch", tmp_path, *to), 2, "--source")
    refused(run("batch", manifest, "--source", "a cat", *to), 2, "folder of pictures")
    refused(run("batch", manifest, "--engine", "magic", *to), 2, "inline, processes, ray")
    refused(run("batch", manifest, "--address", "ray://x", *to), 2, "--engine ray")
    refused(run("batch", manifest, "--threads", "0", *to), 2, "--threads")
    refused(run("batch", manifest, "--method", "kv-edit", *to), 2, "mask")
    refused(run("batch", "status", tmp_path), 2, "holds no batch")
    refused(run("batch", "verify", tmp_path), 2, "holds no batch")
    refused(run("batch", "retry", tmp_path), 2, "holds no batch")
    assert not (tmp_path / "out").exists()
