"""Edits as the page makes them, and what a file that is dropped on it may do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from app_parts import asked, file, run, run_edit, studio  # noqa: F401
from counterflow import images
from counterflow.app import markup, mask_panel, restore, sources, views
from counterflow.app.mask_panel import FOUND, PAINTED, Chosen
from counterflow.app.studio import Studio
from counterflow.edit.editor import Editor
from counterflow.edit.job import Job
from counterflow.edit.plan import Plan
from counterflow.edit.recorded import checked
from counterflow.errors import InputError
from tools import SOURCE, TARGETS


def test_an_edit_says_what_made_it_and_is_replayed(
    studio: Studio, file: Path, tmp_path: Path, run_edit: Any
) -> None:
    session = run_edit(asked(file, targets="\n".join(TARGETS), seed=3))
    assert [each.target for each in session.history] == TARGETS[::-1]
    kept = session.history[0]
    record = images.read_settings(kept.file)
    assert record["image"] == "bear.png" and str(tmp_path) not in json.dumps(record)
    assert record["image_sha256"] == sources.digest(file)
    assert (record["seed"], record["settings"]["steps"]) == (3, 2)
    record = checked(record, kept.file)
    job = Job.from_record(record, file, None, studio.seeded(3))
    job.open()
    inversion = job.inversion(studio.editor, lambda *_: None)
    *_, (again, _, _) = Plan.from_record(record).run(job, studio.editor, inversion, lambda *_: None)
    assert np.abs(np.asarray(again.image, int) - np.asarray(images.load(kept.file), int)).max() <= 1


def test_a_second_edit_of_a_picture_is_cheaper(run_edit: Any, file: Path) -> None:
    run_edit(asked(file))
    session = run_edit(asked(file, targets=TARGETS[1]))
    second, first = (each.facts["forwards"] for each in session.history)
    assert second < first


def test_masks_are_painted_found_and_kept(run_edit: Any, file: Path) -> None:
    paint = np.zeros((mask_panel.SIDE, mask_panel.SIDE), bool)
    paint[:320] = True
    chosen = Chosen(PAINTED, paint, grow=2, feather=0, exact=True)
    kept = run_edit(asked(file, mask=chosen)).history[0]
    mask = np.asarray(Image.open(kept.mask))
    assert mask[:32].all() and not mask[32:].any()
    before, after = (np.asarray(images.load(each)) for each in (file, kept.file))
    assert (before[34:] == after[34:]).all() and (before[:34] != after[:34]).any()
    record = images.read_settings(kept.file)
    assert record["mask"] == kept.mask.name and record["mask_grow"] == 2
    assert "50% of the picture" in markup.report(kept.facts, kept.source, kept.target)
    found = run_edit(asked(file, mask=Chosen(FOUND))).history[0]
    assert found.mask is not None and images.read_settings(found.file)["auto_mask"]
    with pytest.raises(InputError, match="Nothing is painted"):
        Chosen(PAINTED, np.zeros_like(paint)).options(file)


@pytest.mark.parametrize("size", [(64, 64), (100, 40), (37, 90), (2000, 700)])
def test_what_is_painted_on_the_square_is_the_mask(size: tuple[int, int]) -> None:
    width, height = size
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 2 :] = True
    (layer,) = mask_panel.canvas(Image.new("RGB", size), mask)["layers"]
    again = mask_panel.unframed(np.asarray(layer.getchannel("A")) >= 128, size)
    assert again.shape == mask.shape and (again != mask).mean() < 0.02


def test_a_difference_is_measured(tmp_path: Path) -> None:
    before = Image.new("RGB", (40, 20), (100, 100, 100))
    after = before.copy()
    after.paste((100, 180, 100), (0, 0, 10, 20))
    after.paste((104, 104, 104), (10, 0, 20, 20))
    for name, each in (("a", before), ("b", after)):
        each.save(tmp_path / f"{name}.png")
    drawn, share = views.difference(tmp_path / "a.png", tmp_path / "b.png")
    assert share == 0.25 and images.load(drawn).size == (40, 20)


def test_a_result_replaces_no_other_file(run_edit: Any, file: Path) -> None:
    """A source that is a result itself, of a sentence that differs where a name is cut."""
    long = "a happy yellow bear with a red hat on the green grass under a blue sky at"
    first = run_edit(asked(file, targets=f"{long} noon")).history[0]
    data = first.file.read_bytes()
    second = run_edit(asked(first.file, targets=f"{long} night")).history[0]
    assert first.file.read_bytes() == second.source_file.read_bytes() == data
    assert second.file.name != first.file.name
    assert images.read_settings(second.file)["image"] == first.file.name


@pytest.mark.parametrize("name", ["mask.png", "before.png", "preview-1.png"])
def test_a_picture_may_be_called_as_a_file_of_ours(run_edit: Any, file: Path, name: str) -> None:
    paint = np.zeros((mask_panel.SIDE, mask_panel.SIDE), bool)
    paint[:320] = True
    given = file.rename(file.with_name(name))
    kept = run_edit(asked(given, mask=Chosen(PAINTED, paint))).history[0]
    assert kept.source_file.name == name
    assert kept.source_file.read_bytes() == given.read_bytes()


def test_what_is_downloaded_into_one_folder_is_replayed(
    studio: Studio, run_edit: Any, file: Path, tmp_path: Path
) -> None:
    """Result, mask and source, as they are called."""
    paint = np.zeros((mask_panel.SIDE, mask_panel.SIDE), bool)
    paint[:320] = True
    kept = run_edit(asked(file, mask=Chosen(PAINTED, paint, grow=3))).history[0]
    folder = tmp_path / "downloads"
    folder.mkdir()
    for each in (kept.file, kept.mask, file):
        shutil.copy(each, folder)
    record = checked(images.read_settings(kept.file), kept.file)
    job = Job.from_record(record, folder / record["image"], folder / record["mask"], studio.choice)
    job.open()
    assert all(job.is_recorded(each, record[f"{each}_sha256"]) for each in ("image", "mask"))
    inversion = job.inversion(studio.editor, lambda *_: None)
    *_, (again, _, _) = Plan.from_record(record).run(job, studio.editor, inversion, lambda *_: None)
    assert np.abs(np.asarray(again.image, int) - np.asarray(images.load(kept.file), int)).max() <= 1


def test_a_page_s_messages_name_no_options() -> None:
    for text, why in (("a\ud800", "half a character"), (" ", "is empty")):
        with pytest.raises(InputError, match=why) as told:
            sources.sentence(text, "target")
        assert "--" not in str(told.value)
    with pytest.raises(InputError, match="All of the picture"):
        mask_panel.unframed(np.ones((mask_panel.SIDE, mask_panel.SIDE), bool), (64, 64))


# A stranger's file


def test_a_result_restores_its_settings(studio: Studio, run_edit: Any, file: Path) -> None:
    session = run_edit(asked(file, seed=9, texts={"steps": "3"}, mask=Chosen(FOUND, grow=4)))
    record = restore.record(session.history[0].file)
    assert record is not None
    made = restore.restored(studio, session, record)
    assert (made.source, made.target, made.seed) == (SOURCE, TARGETS[0], 9)
    assert made.job.method.steps == 3 and made.job.auto_mask and made.job.mask_grow == 4
    assert made.file is not None and made.file.read_bytes() == file.read_bytes()
    assert restore.restored(studio, studio.sessions("another tab"), record).file is None


@pytest.mark.fault("F15")
def test_no_model_and_no_file_that_a_record_names_is_opened(
    studio: Studio, run_edit: Any, file: Path, monkeypatch: Any
) -> None:
    session = run_edit(asked(file))
    record = restore.record(session.history[0].file)
    assert record is not None
    for name in ("load", "load_mask"):
        monkeypatch.setattr(images, name, lambda *_: pytest.fail("a file was opened"))
    monkeypatch.setattr(Editor, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    record |= {"model": "/etc", "image": "/etc/passwd", "mask": "../../mask.png"}
    record |= {"weights": "/tmp/x.safetensors", "lora": ["/tmp/y.safetensors"], "identity": "z@1"}
    made = restore.restored(studio, session, record)
    assert made.masked and any("another model" in note for note in made.notes)


def test_what_the_form_lacks_of_a_record_is_told(studio: Studio, run_edit: Any, file: Path) -> None:
    session = run_edit(asked(file))
    record = restore.record(session.history[0].file)
    assert record is not None
    assert len(restore.restored(studio, session, record).notes) == 2
    for change, word in (
        ({"noise_seed": 5}, "noise of seed 5"),
        ({"inversion_seed": 7}, "seed 7"),
        ({"negative": "blur"}, "negative"),
        ({"weights": "/tmp/x.gguf"}, "weights"),
        ({"lora": ["/tmp/y.safetensors=1"]}, "LoRA"),
        ({"dtype": "float16"}, "number format"),
    ):
        notes = restore.restored(studio, session, record | change).notes
        assert len(notes) == 3 and word in notes[1]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "nothing"},
        {"method": 7},
        {"settings": {"steps": 10**9}},
        {"settings": [1]},
        {"seed": -1},
        {"seed": "x"},
        {"source": 5},
        {"source": ""},
        {"target": ""},
        {"target": "a" * 5000},
        {"turns": "abc"},
        {"mask_grow": "x"},
        {"mask_feather": -4},
        {"image_sha256": None},
    ],
    ids=str,
)
def test_a_damaged_record_is_refused_or_harmless(
    studio: Studio, run_edit: Any, file: Path, change: dict[str, Any]
) -> None:
    session = run_edit(asked(file))
    record = restore.record(session.history[0].file)
    assert record is not None
    with pytest.raises(InputError):
        restore.restored(studio, session, record | change)
