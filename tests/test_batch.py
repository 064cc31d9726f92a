"""A batch's folder: every result once, whatever happens between; on a stand-in for the model."""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from batch_double import Doubles, draw, items, recipe
from counterflow.batch import run
from counterflow.batch.executors.inline import Inline
from counterflow.batch.index import every
from counterflow.batch.items import Item, Rank
from counterflow.batch.publish import PICTURES, Folder, Objects, Unwritable
from counterflow.batch.report import summary, write_page
from counterflow.batch.verify import verify
from counterflow.errors import InputError
from counterflow.files import locked
from counterflow.images import save_png

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


def test_another_recipe_is_refused(folder: Path) -> None:
    """And the difference is shown."""
    batch(folder, sources(folder), steps=4)
    with pytest.raises(InputError, match="steps 4, not 5"):
        batch(folder, sources(folder), steps=5)
    other = replace(recipe(steps=4), model="double@1")
    with pytest.raises(InputError, match="identity 'double@0', not 'double@1'"):
        run.run(folder, sources(folder), other, Inline(), make=Doubles(folder))


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


def test_altered_and_missing_results(folder: Path) -> None:
    """They are found, kept aside, and made again with the same bytes."""
    batch(folder, sources(folder))
    whole = published(folder)
    gone, altered, *_ = sorted((folder / PICTURES).iterdir())
    gone.unlink()
    altered.write_bytes(b"something else")
    assert verify(folder) == {"gone": [gone.name], "altered": [altered.name]}
    assert (folder / "altered" / altered.name).read_bytes() == b"something else"
    assert verify(folder) == {"gone": [], "altered": []}
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
    page = write_page(folder).read_text()
    assert "poison" in page and "NaN or infinite" in page
    assert summary(folder)["reasons"] == {failed["error"]: 1}


def test_a_picture_that_comes_later(folder: Path) -> None:
    """One that was not there fails; put there, it is edited by the next run."""
    wanted = sources(folder, 8)
    hidden = wanted[0].image.rename(folder.parent / "hidden.png")

    class Missing(Doubles):
        def work(self, task):  # type: ignore[no-untyped-def]
            if not task.items[0][1].image.exists():
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


def test_two_runners(folder: Path) -> None:
    """The lock is the folder's own, by whatever path; ranks share it with each other alone."""
    folder.mkdir()
    link = folder.parent / "link"
    link.symlink_to(folder)
    for path in (folder, link, folder / ".." / "out", folder / "."):
        with locked(folder), pytest.raises(InputError, match="another run"), locked(path):
            pass
    with locked(folder, shared=True), locked(link, shared=True):
        with pytest.raises(InputError, match="another run"), locked(folder):
            pass
        first, second = run.opened(folder, Rank(0, 2)), run.opened(folder, Rank(0, 2))
        with first, pytest.raises(InputError, match="another run"), second:
            pass
    with locked(folder):
        pass
    assert sorted(path.name for path in folder.iterdir()) == [".rank-0", "index-0.sqlite"]


def fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def test_what_is_wrong_with_an_item_is_not_the_disks_fault(tmp_path: Path) -> None:
    """A record that is too long for a PNG fails its item; the run goes on."""

    def write(path: Path) -> None:
        save_png(Image.new("RGB", (8, 8)), path, {"prompt": "x" * (1 << 22)})

    with pytest.raises(InputError, match="settings exceed") as told:
        Folder(tmp_path).publish("a.png", write)
    assert not isinstance(told.value, Unwritable)


def test_results_as_objects(folder: Path) -> None:
    """In a store that fsspec knows: once each, verified and made again as in a folder."""
    fsspec = pytest.importorskip("fsspec")
    url = f"memory://{folder.parent.name}/results"
    store = Objects(url)
    wanted = sources(folder, 6)

    def again() -> None:
        made = Doubles(folder, elsewhere=store)
        run.run(folder, wanted, recipe(), Inline(), make=made, url=url)

    again()
    files = [row["file"] for row in every(folder)]
    system = fsspec.filesystem("memory")
    assert len(files) == 6 and all(map(store.has, files)) and not (folder / PICTURES).exists()
    whole = system.cat_file(f"{url}/{files[0]}")
    assert store.publish(files[0], lambda path: fill(path, b"another"))[1] == len(whole)
    system.pipe_file(f"{url}/{files[0]}", b"altered")
    system.rm_file(f"{url}/{files[1]}")
    assert verify(folder) == {"gone": [files[1]], "altered": [files[0]]}
    again()
    assert system.cat_file(f"{url}/{files[0]}") == whole and store.has(files[1])
    (folder / "index.sqlite").unlink()
    again()
    assert states(folder) == ["done"] * 6
    assert url in write_page(folder).read_text()
    with pytest.raises(InputError, match="store"):
        batch(folder, wanted)
    with pytest.raises(InputError, match="cannot be used"):
        Objects("nowhere://a/b").has("c")


def test_published_by_several_at_once(tmp_path: Path) -> None:
    """Of many that publish the same place one is the first; all are told its digest."""
    store, told = Folder(tmp_path), []
    path = tmp_path / "pictures" / "a.png"

    def write(n: int) -> None:
        told.append(store.publish("a.png", lambda path: fill(path, bytes([n]) * 100)))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(told)) == 1 and len(set(path.read_bytes())) == 1
    assert list((tmp_path / ".work").iterdir()) == []


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename does, where there is no file yet."""
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no")))
    store = Folder(tmp_path)
    store.publish("a.png", lambda path: fill(path, b"first"))
    store.publish("a.png", lambda path: fill(path, b"second"))
    assert (tmp_path / "pictures" / "a.png").read_bytes() == b"first"


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends and says so, nothing is half written, and a later run makes the rest."""
    real, left = os.link, [5]

    def link(*paths: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(*paths)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(InputError, match="No space left on device"):
        batch(folder, sources(folder))
    assert states(folder).count("done") == len(published(folder)) == 5
    assert states(folder).count("waiting") == COUNT - 5
    assert list((folder / ".work").iterdir()) == []
    left[0] = COUNT
    batch(folder, sources(folder))
    assert states(folder) == ["done"] * COUNT


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
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
    """It is not taken for a result."""
    batch(folder, sources(folder))
    one = next((folder / PICTURES).iterdir())
    draw("stranger", one)
    (folder / "index.sqlite").unlink()
    with pytest.raises(InputError, match="no result of this batch"):
        batch(folder, sources(folder))


def test_the_id_knows_all_that_decides(folder: Path) -> None:
    """Every fact of an item and a recipe changes it."""
    item, base = sources(folder, 1)[0], recipe(steps=4)
    ids = {
        base.identity(item, "p", None),
        base.identity(item, "q", None),
        base.identity(item, "p", "m"),
        base.identity(replace(item, source="another"), "p", None),
        base.identity(replace(item, target="another"), "p", None),
        base.identity(replace(item, name="another"), "p", None),
        recipe(steps=5).identity(item, "p", None),
        *(
            replace(base, **{name: value}).identity(item, "p", None)
            for name, value in {
                "seed": 1, "exact_background": True, "check": False, "threads": 2, "model": "m@1",
                "loading": replace(base.loading, negative="fog"),
            }.items()
        ),
    }  # fmt: skip
    assert len(ids) == 13
    assert base.identity(replace(item, image=Path("/moved") / item.image.name), "p", None) in ids


def test_receipts_outlive_a_crash_of_the_index(folder: Path) -> None:
    """What was published and not committed is found by its file."""
    batch(folder, sources(folder))
    with sqlite3.connect(folder / "index.sqlite") as base:
        base.execute("UPDATE items SET state='waiting', digest=NULL")
    before = published(folder)
    batch(folder, sources(folder))
    assert published(folder) == before and states(folder) == ["done"] * COUNT
