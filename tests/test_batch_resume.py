"""A batch that goes on after a lost index, by ranks, or with another number of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch_double import Doubles, draw, items, recipe
from counterflow.batch import run
from counterflow.batch.executors.inline import Inline
from counterflow.batch.index import every, newest
from counterflow.batch.items import Item, Rank
from counterflow.batch.publish import PICTURES, Folder
from counterflow.batch.report import summary
from counterflow.batch.verify import verify
from counterflow.batch.work import EditWorker
from counterflow.errors import InputError
from test_batch import COUNT, batch, folder, published, sources, states

__all__ = ["folder"]


def by_ranks(folder: Path, wanted: list[Item], count: int, **settings: object) -> None:
    for n in range(count):
        batch(folder, wanted, Rank(n, count), **settings)


def told(folder: Path) -> tuple[int, int]:
    """Items, and those done, as `status` has them."""
    figures = summary(every(folder), newest(folder).total)
    return figures["items"], figures["done"]


def lose(folder: Path) -> None:
    (folder / "index.sqlite").unlink()


@pytest.mark.fault("24")
@pytest.mark.parametrize("how", ["index", "ranks", "first commit"])
def test_other_settings_are_refused(folder: Path, how: str) -> None:
    """Where this run's own index knows of no result, too: another one does, or the folder."""
    if how == "ranks":
        by_ranks(folder, sources(folder), 2, steps=4)
    else:
        batch(folder, sources(folder), steps=4)
        lose(folder)
    if how == "first commit":
        with run.opened(folder):
            pass
    with pytest.raises(InputError, match="steps 4, not 5"):
        batch(folder, sources(folder), steps=5)
    assert run.read_facts(folder)["settings"] == {"steps": 4}
    assert len(published(folder)) == COUNT


@pytest.mark.fault("24")
def test_no_rank_writes_over_a_recipe(folder: Path) -> None:
    """One with nothing to do yet is refused as the others are."""
    one = [item for item in sources(folder) if item.image == sources(folder)[0].image]
    by_ranks(folder, one, 2, steps=4)
    for n in range(2):
        with pytest.raises(InputError, match="steps 4, not 5"):
            batch(folder, one, Rank(n, 2), steps=5)


@pytest.mark.fault("24")
def test_a_lost_recipe(folder: Path) -> None:
    """The index knows that its results were made otherwise."""
    batch(folder, sources(folder), steps=4)
    (folder / run.RECIPE).unlink()
    with pytest.raises(InputError, match="results of other settings"):
        batch(folder, sources(folder), steps=5)


@pytest.mark.fault("F6")
def test_a_source_that_ranks_have_edited(folder: Path) -> None:
    """A run alone knows that it was replaced."""
    wanted = sources(folder)
    by_ranks(folder, wanted, 2)
    draw("another", wanted[0].image)
    with pytest.raises(InputError, match=r"1 of the pictures have changed.*p0\.png"):
        batch(folder, wanted)


def test_another_number_of_ranks(folder: Path) -> None:
    """Every item is told, by more ranks, by fewer, and by a run alone."""
    wanted = sources(folder)
    for count in (2, 3, 2):
        by_ranks(folder, wanted, count)
        assert told(folder) == (COUNT, COUNT) and states(folder) == ["done"] * COUNT
    batch(folder, wanted)
    assert told(folder) == (COUNT, COUNT) and len(published(folder)) == COUNT


def test_another_manifest_after_ranks(folder: Path) -> None:
    """The last one counts, whoever had it."""
    wanted = sources(folder)
    by_ranks(folder, wanted, 2)
    batch(folder, wanted[:3])
    assert told(folder) == (3, 3)
    by_ranks(folder, sources(folder, COUNT + 2), 3)
    assert told(folder) == (COUNT + 2, COUNT + 2)


def test_a_rank_that_has_not_begun(folder: Path) -> None:
    """Its share waits."""
    batch(folder, sources(folder), Rank(0, 2))
    count, done = told(folder)
    assert count == COUNT and 0 < done < COUNT
    assert summary(every(folder), COUNT)["waiting"] == COUNT - done


def test_what_failed_stays_failed_by_other_ranks(folder: Path) -> None:
    """Until `retry`, by ranks or alone; what it is about to try waits."""
    wanted = [Item(sources(folder)[n].image, "s", ("poison", "t")[n % 2]) for n in range(6)]
    by_ranks(folder, wanted, 2)
    batch(folder, wanted)
    by_ranks(folder, wanted, 3)
    assert [row["attempts"] for row in every(folder)] == [1] * 6
    assert states(folder).count("failed") == 3

    class Stops(Doubles):
        def work(self, task):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(folder, Stops(folder))
    assert states(folder).count("waiting") == 3
    failed = [again(folder, Doubles(folder), Rank(n, 2)) for n in range(2)]
    assert sum(failed) == 0 and states(folder).count("failed") == 3
    assert sum(again(folder, Doubles(folder), Rank(n, 2)) for n in range(2)) == 3
    assert told(folder) == (6, 3)


def again(folder: Path, made: Doubles, rank: Rank | None = None) -> int:
    """`retry`; the stand-in's method is known to no registry."""
    known = run.read_recipe
    run.read_recipe = lambda folder: recipe()
    try:
        return run.retry(folder, Inline(), rank, make=made)
    finally:
        run.read_recipe = known


@pytest.mark.fault("F7")
@pytest.mark.parametrize("ranks", [0, 2])
def test_a_result_that_is_deleted(folder: Path, ranks: int) -> None:
    """The next run makes it again, unasked, whichever index knows of it."""
    wanted = sources(folder)
    by_ranks(folder, wanted, ranks) if ranks else batch(folder, wanted)
    whole = published(folder)
    next((folder / PICTURES).iterdir()).unlink()
    batch(folder, wanted)
    assert published(folder) == whole and states(folder) == ["done"] * COUNT
    assert not any(verify(folder).values())


@pytest.mark.fault("F7")
def test_a_folder_in_a_results_place(folder: Path) -> None:
    """`verify` moves it away; where no index knows better, the item fails."""
    batch(folder, sources(folder, 3))
    place = next((folder / PICTURES).iterdir())
    whole = place.read_bytes()
    place.unlink()
    place.mkdir()
    lose(folder)
    batch(folder, sources(folder, 3))
    (failed,) = (row for row in every(folder) if row["state"] == "failed")
    assert "no result of this batch: move it away" in failed["error"]
    place.rmdir()
    lose(folder)
    batch(folder, sources(folder, 3))
    assert place.read_bytes() == whole
    place.unlink()
    place.mkdir()
    assert verify(folder)["altered"] == [place.name] and not place.exists()
    batch(folder, sources(folder, 3))
    assert place.read_bytes() == whole


def test_files_that_no_line_names(folder: Path) -> None:
    """They are told; a line that was taken out still names its own."""
    batch(folder, sources(folder, 3))
    batch(folder, sources(folder, 2))
    (folder / PICTURES / "mine.png").write_bytes(b"x")
    assert verify(folder) == {"gone": [], "altered": [], "unknown": ["mine.png"]}


@pytest.mark.parametrize("name", ["pictures/mine.png", "index.html", "index.sqlite.bak", "a.txt"])
def test_a_folder_of_the_users_own(folder: Path, name: str) -> None:
    """Names that a batch uses make it none."""
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        batch(folder, items(folder.parent / "sources", 2))


def test_targets_that_share_an_inversion_share_its_failure(folder: Path) -> None:
    """It is not tried again for each of them."""
    tried = []

    def invert(*_: object, **__: object) -> None:
        tried.append(1)
        raise InputError("no such picture")

    editor: Any = SimpleNamespace(invert=invert)
    made = EditWorker(recipe(), Folder(folder), editor)
    wanted = [Item(folder / "absent.png", "s", f"t{n}") for n in range(9)]
    run.run(folder, wanted, recipe(), Inline(), make=lambda place: made)
    assert states(folder) == ["failed"] * 9 and tried == [1]
    assert {row["error"] for row in every(folder)} == {"no such picture"}
