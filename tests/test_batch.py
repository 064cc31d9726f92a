"""A batch's folder: every result once, whatever happens between; on a stand-in for the model."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_double import Doubles, draw, items, recipe
from counterflow.batch import index, run
from counterflow.batch.executors.inline import Inline
from counterflow.batch.executors.processes import Processes
from counterflow.batch.index import Receipt, every
from counterflow.batch.items import Item, Rank
from counterflow.batch.publish import PICTURES
from counterflow.batch.report import summary, write_page
from counterflow.batch.verify import verify
from counterflow.errors import InputError

COUNT = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def batch(folder: Path, wanted: list[Item], rank: Rank | None = None, **settings: object) -> None:
    run.run(folder, wanted, recipe(**settings), Inline(), rank, make=Doubles(folder))


def sources(folder: Path, count: int = COUNT) -> list[Item]:
    return items(folder.parent / "sources", count)


def published(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / PICTURES).iterdir()}


def states(folder: Path) -> list[str]:
    return [row["state"] for row in every(folder)]


def test_every_result_once(folder: Path) -> None:
    """A second run makes nothing, a longer manifest what it has more, a twin nothing."""
    batch(folder, sources(folder))
    assert len(published(folder)) == COUNT and states(folder) == ["done"] * COUNT
    before = {path: path.stat().st_mtime_ns for path in (folder / PICTURES).iterdir()}
    more = sources(folder, COUNT + 3)
    batch(folder, [*more, more[0]])
    assert len(published(folder)) == COUNT + 3 == len(every(folder))
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_a_lost_index_is_made_again(folder: Path) -> None:
    """From what is published, which is not made again."""
    batch(folder, sources(folder))
    before = {path: path.stat().st_mtime_ns for path in (folder / PICTURES).iterdir()}
    digests = [row["digest"] for row in every(folder)]
    (folder / "index.sqlite").unlink()
    batch(folder, sources(folder))
    assert [row["digest"] for row in every(folder)] == digests
    assert {path: path.stat().st_mtime_ns for path in (folder / PICTURES).iterdir()} == before


@pytest.mark.fault("24")
def test_another_recipe_is_refused(folder: Path) -> None:
    """And the difference is shown."""
    batch(folder, sources(folder), steps=4)
    with pytest.raises(InputError, match="steps 4, not 5"):
        batch(folder, sources(folder), steps=5)
    other = replace(recipe(steps=4), model="double@1")
    with pytest.raises(InputError, match="identity 'double@0', not 'double@1'"):
        run.run(folder, sources(folder), other, Inline(), make=Doubles(folder))


@pytest.mark.fault("F6")
@pytest.mark.parametrize("how", ["another picture", "gone"])
def test_a_changed_source_is_refused(folder: Path, how: str) -> None:
    """Its results would be mixed with those of the old one."""
    wanted = sources(folder)
    batch(folder, wanted)
    if how == "gone":
        wanted[0].image.unlink()
    else:
        draw("another", wanted[0].image)
    with pytest.raises(InputError, match=r"1 of the pictures have changed.*p0\.png"):
        batch(folder, wanted)


@pytest.mark.fault("F7")
def test_altered_and_missing_results(folder: Path) -> None:
    """They are found, kept aside, and made again with the same bytes."""
    batch(folder, sources(folder))
    whole = published(folder)
    gone, altered, *_ = sorted((folder / PICTURES).iterdir())
    gone.unlink()
    altered.write_bytes(b"something else")
    assert verify(folder) == {"gone": [gone.name], "altered": [altered.name], "unknown": []}
    assert (folder / "altered" / altered.name).read_bytes() == b"something else"
    assert not any(verify(folder).values())
    assert states(folder).count("waiting") == 2
    batch(folder, sources(folder))
    assert published(folder) == whole


def test_a_failure_is_told_and_tried_again(folder: Path) -> None:
    """A model that gives NaN for one item does not stop the others; `run` leaves it at that."""
    wanted = [replace(item, target="poison") if n == 2 else item
              for n, item in enumerate(sources(folder))]  # fmt: skip
    batch(folder, wanted)
    assert states(folder).count("failed") == 1 and len(published(folder)) == COUNT - 1
    batch(folder, wanted)
    (failed,) = (row for row in every(folder) if row["state"] == "failed")
    assert (failed["attempts"], failed["error"]) == (
        1,
        "the picture holds NaN or infinite values",
    )
    page = write_page(folder, every(folder)).read_text()
    assert "poison" in page and "NaN or infinite" in page
    assert summary(every(folder))["reasons"] == {failed["error"]: 1}


def test_a_picture_that_comes_later(folder: Path) -> None:
    """One that was not there fails; put there, it is edited by the next run."""
    wanted = sources(folder, 8)
    hidden = wanted[0].image.rename(folder.parent / "hidden.png")

    class Missing(Doubles):
        def work(self, task):  # type: ignore[no-untyped-def]
            if not task.entries[0].item.image.exists():
                raise InputError("there is no such picture")
            return super().work(task)

    run.run(folder, wanted, recipe(), Inline(), make=Missing(folder))
    assert states(folder).count("failed") == 1
    hidden.rename(wanted[0].image)
    run.run(folder, wanted, recipe(), Inline(), make=Missing(folder))
    assert states(folder) == ["done"] * 8


def test_ranks_share_a_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its share, all together everything, and one run goes on after them."""
    wanted = sources(folder)
    for n in range(3):
        monkeypatch.setenv("RANK", str(n))
        monkeypatch.setenv("WORLD_SIZE", "3")
        batch(folder, wanted, Rank.of_environment())
    assert states(folder) == ["done"] * COUNT and len(published(folder)) == COUNT
    before = published(folder)
    batch(folder, wanted)
    assert published(folder) == before
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Rank.of_environment() is None


@pytest.mark.fault("23")
@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere"
)
@pytest.mark.fault("23")
def test_a_read_only_folder(folder: Path) -> None:
    """Refused, with the reason, before any work."""
    folder.mkdir(mode=0o500)
    with pytest.raises(InputError, match="read-only"):
        batch(folder, sources(folder))


def test_a_folder_of_something_else(folder: Path) -> None:
    """A batch does not write among other files, nor reads what is none of its own."""
    folder.mkdir()
    (folder / "thesis.tex").write_text("…")
    with pytest.raises(InputError, match="not an empty folder"):
        batch(folder, sources(folder))
    for wrong in ("", "[]", "{", "{}", '{"settings": {}}', "[" * 9999):
        (folder / run.RECIPE).write_text(wrong)
        with pytest.raises(InputError, match="damaged"):
            run.read_recipe(folder)


def test_a_damaged_index(folder: Path) -> None:
    """Named, with what to do; without it the run goes on."""
    batch(folder, sources(folder))
    (folder / "index.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="delete it"):
        batch(folder, sources(folder))
    with pytest.raises(InputError, match="delete it"):
        every(folder)
    (folder / "index.sqlite").unlink()
    batch(folder, sources(folder))
    assert states(folder) == ["done"] * COUNT


def test_a_strangers_picture_in_a_results_place(folder: Path) -> None:
    """It is not taken for a result; the item fails until it is moved away."""
    batch(folder, sources(folder))
    one = next((folder / PICTURES).iterdir())
    draw("stranger", one)
    (folder / "index.sqlite").unlink()
    batch(folder, sources(folder))
    (failed,) = (row for row in every(folder) if row["state"] == "failed")
    assert one.name in failed["error"] and "no result of this batch" in failed["error"]


def test_the_id_knows_all_that_decides(folder: Path) -> None:
    """Every fact of an item and a recipe changes it; what only saves memory does not."""
    item, base = sources(folder, 1)[0], recipe(steps=4)

    def of(item: Item = item, picture: str = "p", mask: str | None = None, **changes: Any) -> str:
        return replace(base, **changes).identity(item, picture, mask)

    def loaded(**changes: Any) -> str:
        return of(loading=replace(base.loading, **changes))

    ids = [
        of(), of(picture="q"), of(mask="m"), recipe(steps=5).identity(item, "p", None),
        *(of(replace(item, **{name: "another"})) for name in ("source", "target", "name")),
        of(seed=1), of(exact_background=True), of(check=False), of(threads=2), of(model="m@1"),
        loaded(model="other"), loaded(device="cuda"), loaded(dtype="float16"), loaded(tiles=True),
        loaded(weights="w.safetensors"), loaded(lora=("l.safetensors",)), loaded(cast=True),
        loaded(negative="fog"), loaded(compile=True), loaded(quantize="int8"),
    ]  # fmt: skip
    assert len(set(ids)) == len(ids)
    assert (
        of(replace(item, image=Path("/moved") / item.image.name))
        == loaded(offload="model")
        == loaded(free_text=True)
        == of()
    )


def test_receipts_outlive_a_crash_of_the_index(folder: Path) -> None:
    """What was published and not committed is found by its file."""
    batch(folder, sources(folder))
    with sqlite3.connect(folder / "index.sqlite") as base:
        base.execute("UPDATE items SET state='waiting', digest=NULL, attempts=0")
    before = published(folder)
    batch(folder, sources(folder))
    assert published(folder) == before and states(folder) == ["done"] * COUNT


def test_a_deadly_item_takes_nothing_with_it(folder: Path) -> None:
    """Workers that die of one target of a picture: the picture's others are made all the same."""
    wanted = [replace(item, image=sources(folder)[0].image, source="s") for item in sources(folder)]
    run.run(folder, wanted, recipe(), Processes(2), make=Deadly(folder))
    told = {row["target"]: (row["state"], bool(row["lost"])) for row in every(folder)}
    assert told.pop("target 3") == ("failed", True)
    assert set(told.values()) == {("done", False)} and len(published(folder)) == COUNT - 1


class Deadly(Doubles):
    """Workers that kill themselves of one target."""

    def work(self, task):  # type: ignore[no-untyped-def]
        for n, entry in enumerate(task.entries):
            if entry.item.target == "target 3":
                super().work(replace(task, entries=task.entries[:n]))
                os.kill(os.getpid(), signal.SIGKILL)
        return super().work(task)


def test_lines_that_are_taken_out(folder: Path) -> None:
    """They are neither made nor counted, until they are back; a failed one is forgotten."""
    wanted = sources(folder)
    bad = replace(wanted[0], target="poison")
    batch(folder, [*wanted[:4], bad])
    assert states(folder).count("failed") == 1
    batch(folder, wanted[:3])
    assert states(folder) == ["done"] * 3
    batch(folder, wanted)
    assert states(folder) == ["done"] * COUNT and len(published(folder)) == COUNT


def test_a_damaged_picture_that_is_mended(folder: Path) -> None:
    """No result was made of it: the new one is taken."""
    wanted = [replace(item, target="poison") for item in sources(folder, 1)]
    batch(folder, wanted)
    draw("mended", wanted[0].image)
    batch(folder, wanted)
    assert states(folder) == ["failed"]


def test_a_recipe_that_made_nothing(folder: Path) -> None:
    """It is written over by the next one."""
    batch(folder, [replace(sources(folder, 1)[0], target="poison")], steps=4)
    batch(folder, sources(folder), steps=5)
    assert run.read_facts(folder)["settings"] == {"steps": 5} and states(folder)[0] == "done"


def test_a_mask_that_is_not_there(folder: Path) -> None:
    """Its line is no twin of the line without a mask."""
    item = sources(folder, 1)[0]
    batch(folder, [item, replace(item, mask=folder.parent / "absent.png")])
    assert len({row["id"] for row in every(folder)}) == 2


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a b"])
def test_folders_of_any_name(folder: Path, name: str) -> None:
    """SQLite is given the path as it is."""
    home = folder.parent / name
    run.run(home, sources(folder, 2), recipe(), Inline(), make=Doubles(home))
    assert states(home) == ["done"] * 2


def test_while_somebody_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader delays commits, and ends no run; a writer is told as busy, not as damaged."""
    monkeypatch.setattr(index, "WAIT", 0.01)
    monkeypatch.setattr(index, "COMMIT", 0.0)
    batch(folder, sources(folder, 2))
    with closing(sqlite3.connect(folder / "index.sqlite")) as reader:
        with run.opened(folder) as writer:
            rows = reader.execute("SELECT * FROM items")
            next(rows)
            writer.record(Receipt(every(folder)[0]["id"], "failed", "told while it was read"))
            rows.close()
        assert states(folder) == ["failed", "done"]
        reader.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="busy"):
            every(folder)
