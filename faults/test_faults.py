"""A batch under everything that goes wrong; in the end the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from batch_double import Doubles, items, recipe
from counterflow.batch import run
from counterflow.batch.executors.base import Place
from counterflow.batch.executors.inline import Inline
from counterflow.batch.index import Receipt, every
from counterflow.batch.items import Item, Recipe
from counterflow.batch.manifest import read
from counterflow.batch.publish import Folder
from counterflow.batch.work import Edits, EditWorker, Entry
from counterflow.bench.sets import toypie
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from kills import PATHS, descendants, digests, ended, harass, kill, start

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "200"))
ITEMS = int(os.environ.get("FAULT_ITEMS", "10000"))
EDITS = int(os.environ.get("FAULT_EDITS", "300"))


@pytest.mark.fault("23")
def test_killed_at_random(tmp_path: Path) -> None:
    """Parents and workers, at random moments: none lost, none twice, the same bytes."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(calm, ITEMS, "processes").wait() == 0
    parents = harass(killed, ITEMS, "processes", ROUNDS, seed=int(time.time()))
    assert parents >= 0.9 * ROUNDS, "the work was over before the last rounds"
    assert start(killed, ITEMS, "processes").wait() == 0
    assert len(digests(calm)) == ITEMS and digests(killed) == digests(calm)
    rows = every(killed)
    assert {row["file"]: row["digest"] for row in rows} == digests(calm)
    assert [row["state"] for row in rows] == ["done"] * ITEMS
    print(f"\n{ROUNDS} rounds, {parents} of them ended a parent in the middle of its work")


def test_a_ray_worker_is_killed(tmp_path: Path) -> None:
    """Its work is done by another one."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(calm, 600, "inline").wait() == 0
    parent = start(killed, 600, "ray", delay=0.02)
    victim = _wait_for(parent, "MapWorker", killed)
    kill(victim)
    assert parent.wait(240) == 0
    assert digests(killed) == digests(calm)


@pytest.mark.parametrize("process", ["raylet", "gcs_server", "the driver itself"])
def test_a_ray_node_is_killed(process: str, tmp_path: Path) -> None:
    """The run ends, no process outlives it by five seconds, and the next one finishes."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(calm, 600, "inline").wait() == 0
    parent = start(killed, 600, "ray", delay=0.02)
    _wait_for(parent, "MapWorker", killed)
    below = descendants(parent.pid)
    kill(_named(below, process) or parent.pid)
    assert parent.wait(240) != 0 and len(list((killed / "pictures").iterdir())) < 600
    ended(below)
    assert start(killed, 600, "processes").wait() == 0
    assert digests(killed) == digests(calm)


def _wait_for(parent: subprocess.Popen[bytes], name: str, folder: Path) -> int:
    """A process of that name below, as soon as some results are published."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        below = descendants(parent.pid)
        published = len(list((folder / "pictures").glob("*")))
        if published > 20 and (pid := _named(below, name)):
            return pid
        assert parent.poll() is None, "the batch ended before it could be disturbed"
        time.sleep(0.05)
    raise AssertionError(f"no {name} within two minutes")


def _named(pids: list[int], name: str) -> int:
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if name in words:
            return pid
    return 0


@pytest.mark.fault("23")
def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """The run ends with the reason, and is finished where there is room again."""
    home, calm = small_disk / "out", tmp_path / "calm"
    wanted = items(tmp_path / "sources", 300)
    run.run(calm, wanted, recipe(), Inline(), make=Doubles(calm))
    with pytest.raises(run.InputError, match=r"No space left|disk is full"):
        run.run(home, wanted, recipe(), Inline(), make=Doubles(home))
    made = {path.name: path.read_bytes() for path in (home / "pictures").iterdir()}
    assert 0 < len(made) < 300
    assert all((calm / "pictures" / name).read_bytes() == data for name, data in made.items())
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    run.run(home, wanted, recipe(), Inline(), make=Doubles(home))
    assert digests(home) == digests(calm)


@pytest.mark.fault("23")
def test_a_read_only_disk(small_disk: Path, tmp_path: Path) -> None:
    """Refused in one line."""
    (small_disk / "out").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    wanted = items(tmp_path / "sources", 3)
    with pytest.raises(run.InputError, match=r"cannot be (written|used)"):
        run.run(small_disk / "out", wanted, recipe(), Inline(), make=Doubles(tmp_path))


@pytest.mark.fault("24", "F1")
def test_two_runners_by_a_link(tmp_path: Path) -> None:
    """The second is refused, by whatever path it comes."""
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    first = start(tmp_path / "home" / "out", 600, "inline", delay=0.02)
    while not (tmp_path / "home" / "out" / "pictures").exists():
        time.sleep(0.05)
    for path in ("link/out", "home/../home/out", "home/./out"):
        second = start(tmp_path / path, 600, "inline", errors=subprocess.PIPE)
        assert b"InputError" in (told := second.communicate()[1]) and b"another run" in told
        assert second.returncode == 1
    assert first.poll() is None
    assert first.wait() == 0
    assert len(digests(tmp_path / "home" / "out")) == 600


def counterflow(*words: str | Path) -> subprocess.Popen[bytes]:
    """The command line, as a process."""
    environment = os.environ | {"PYTHONPATH": PATHS}
    command = [sys.executable, "-m", "counterflow", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=-3, stderr=-3)


def manifest(folder: Path, count: int) -> Path:
    """So many true edits of the toybox's world."""
    lines = []
    for edit in toypie.scene_edits(count, 930_000):
        name = f"{toypie.case_id(edit)}.png"
        render(edit.source).save(folder / name)
        source, target = edit.prompts
        lines.append(json.dumps({"image": name, "source": source, "target": target}))
    path = folder / "m.jsonl"
    path.write_text("\n".join(lines))
    return path


@dataclass(frozen=True)
class Poisoned(Edits):
    """Workers whose model gives NaN for a target that is called poison."""

    def __call__(self, place: Place) -> EditWorker:
        worker = super().__call__(place)
        transformer, edit = worker.editor.backbone.pipeline.transformer, worker._edit

        def poisoned(entry: Entry, *rest: Any) -> Receipt:
            if "poison" not in entry.item.target:
                return edit(entry, *rest)
            hook = transformer.register_forward_hook(lambda *given: (given[-1][0] * torch.nan,))
            try:
                return edit(entry, *rest)
            finally:
                hook.remove()

        worker._edit = poisoned  # type: ignore[method-assign]
        return worker


@pytest.mark.fault("1", "22")
def test_a_bomb_and_poison_among_pictures(tmp_path: Path) -> None:
    """Each fails alone, and quickly; what is beside them has the bytes of a run without them."""
    path = manifest(tmp_path, 3)
    good = list(read(path))
    calm, out = tmp_path / "calm", tmp_path / "out"
    how = Recipe(method("ftedit", steps=2), check=False, threads=1).resolved()
    run.run(calm, good, how, Inline(Place(0, 1)))
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "bomb.png").read_bytes()[:500])
    bad = [Item(tmp_path / name, "a cat", "a dog") for name in ("bomb.png", "cut.png")]
    poison = replace(good[1], target="poison")  # it shares the inversion of its neighbour
    wanted = [bad[0], good[0], poison, good[1], bad[1], good[2]]
    run.run(out, wanted, how, Inline(Place(0, 1)), make=Poisoned(how, Folder(out)))
    rows = {row["target"] + Path(row["image"]).name: row for row in every(out)}
    assert [row["state"] for row in rows.values()].count("failed") == 3
    assert rows["a dogbomb.png"]["state"] == rows["a dogcut.png"]["state"] == "failed"
    poisoned = rows[f"poison{good[1].image.name}"]
    assert poisoned["state"] == "failed" and "not finite" in poisoned["error"]
    assert len(digests(calm)) == 3 and digests(out) == digests(calm)


def test_real_edits_on_ray(tmp_path: Path) -> None:
    """Two workers, one of them killed midway: the bytes of an inline run."""
    path = manifest(tmp_path, EDITS)
    asked = [path, "--no-check", "--threads", "1"]
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    first = counterflow("batch", *asked, "-o", calm, "--engine", "inline")
    assert first.wait() == 0
    ray = counterflow("batch", *asked, "-o", killed, "--engine", "ray", "--workers", "2")
    victim = _wait_for(ray, "MapWorker", killed)
    time.sleep(random.uniform(1, 5))
    kill(victim)
    assert ray.wait() == 0
    assert len(digests(calm)) == EDITS and digests(killed) == digests(calm)
