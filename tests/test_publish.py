"""Where results go: published once, in a folder with one writer or as objects under a URL."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from batch_double import Doubles, recipe
from counterflow.batch import run
from counterflow.batch.executors.inline import Inline
from counterflow.batch.index import every
from counterflow.batch.items import Rank
from counterflow.batch.publish import PICTURES, Folder, Objects, Unwritable
from counterflow.batch.report import write_page
from counterflow.batch.verify import verify
from counterflow.errors import InputError
from counterflow.files import locked
from counterflow.images import save_png
from test_batch import COUNT, batch, folder, published, sources, states

__all__ = ["folder"]


@pytest.mark.fault("24", "F1")
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


@pytest.mark.fault("F2")
def test_a_lock_that_is_let_go_while_others_wait(folder: Path) -> None:
    """Three writers in a hurry are never two at once, as they are where a lock is unlinked."""
    inside, most = [0], [0]

    def hurry() -> None:
        taken = 0
        while taken < 40:
            try:
                with locked(folder):
                    taken += 1
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.001)
                    inside[0] -= 1
            except InputError:
                time.sleep(0.0002)

    writers = [threading.Thread(target=hurry) for _ in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert most == [1] and inside == [0]


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
    with pytest.raises(InputError, match="was made with --store memory:"):
        verify(folder)
    found = {"gone": [files[1]], "altered": [files[0]], "unknown": []}
    assert verify(folder, url) == found
    again()
    assert system.cat_file(f"{url}/{files[0]}") == whole and store.has(files[1])
    (folder / "index.sqlite").unlink()
    again()
    assert states(folder) == ["done"] * 6
    assert url in write_page(folder, every(folder)).read_text()
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


@pytest.mark.fault("23")
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
