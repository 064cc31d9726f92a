"""The page's parts without a page: forms, marks, sessions, tasks, what a stranger's file may do."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import gradio as gr

from counterflow import images
from counterflow.app import editing, forms, markup, mask_panel, presets, restore, sources, views
from counterflow.app.mask_panel import FOUND, PAINTED, Chosen
from counterflow.app.session import MOST_KEPT, Session, Sessions
from counterflow.app.studio import Studio
from counterflow.app.task import Clock, Task
from counterflow.cli.page import check_address
from counterflow.edit.editor import Editor
from counterflow.edit.job import ModelChoice
from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.registry import METHODS
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, refused


@pytest.fixture
def studio(one: Editor, tmp_path: Path) -> Studio:
    choice = ModelChoice()
    choice.identity = one.backbone.identity
    return Studio(one, choice, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bear.png"
    render(SCENE, 64).save(path)
    return path


def asked(file: Path, **more: Any) -> editing.Asked:
    given = {"targets": TARGETS[0], "method": "euler", "texts": {"steps": "2"}} | more
    return editing.Asked(str(file), SOURCE, **given)


def run(studio: Studio, session: Session, request: editing.Asked) -> Task:
    task = editing.begin(studio, session, request, lambda kept: None)
    for _ in task:
        pass
    return task


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_needs_no_password(host: str) -> None:
    check_address(host, 7860, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "8.8.8.8"])
def test_another_address_needs_one(host: str) -> None:
    check_address(host, None, "secret")
    with pytest.raises(InputError, match="--password"):
        check_address(host, None, None)


def test_the_command_refuses_before_a_model_loads(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Editor, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    refused(run("app", "--host", "0.0.0.0"), 2, "0.0.0.0", "--password")
    refused(run("app", "--host", "example.com"), 2, "--host")
    refused(run("app", "--port", "0"), 2, "--port")
    refused(run("app", "--password", " "), 2, "--password")
    monkeypatch.setattr("counterflow.cli.page.find_spec", lambda name: None)
    refused(run("app"), 2, "pip install gradio")


# Forms


@pytest.mark.parametrize("name", METHODS)
def test_a_method_passes_through_its_form(name: str) -> None:
    """What the fields show for a method, read back, is the method."""
    with gr.Blocks(analytics_enabled=False):
        kinds = forms.fields(list(METHODS))
        fields = {each: forms.widget(each, kinds[each]) for each in kinds}
    method = registry.method(name)
    updates = forms.shown(fields, method)
    values = {each: updates[field]["value"] for each, field in fields.items()}
    seen = {each for each, field in fields.items() if updates[field]["visible"]}
    assert {each.name for each in method.declared()} | set(forms.FIRST) == seen
    assert method.but(**method.parse(forms.texts(name, values))) == method


def test_an_emptied_field_is_refused_by_name() -> None:
    values = registry.method("paired").to_dict() | {"least": None}
    with pytest.raises(InputError, match="least is empty"):
        forms.texts("paired", values)


@pytest.mark.parametrize("preset", presets.PRESETS, ids=str)
def test_a_preset_names_a_method(preset: presets.Preset) -> None:
    assert presets.of(preset.method) == preset.label
    assert "forwards" in presets.about(preset.method)


# Words


@pytest.mark.fault("25")
def test_what_a_visitor_wrote_is_escaped() -> None:
    wicked = "<script>alert('x')</script> a & b"
    facts = {"sentence": wicked, "method": wicked, "forwards": 1, "seconds": 1.0, "seed": 0}
    shown = [
        markup.words(wicked, [wicked, "a"], frozenset({"a"})),
        markup.report(facts, "a", wicked),
        markup.note(wicked),
        markup.wrong(wicked),
        markup.about(wicked),
        markup.unknown([wicked], frozenset()),
    ]
    for each in shown:
        assert "<script" not in each and "alert('x')" not in each and "& b" not in each


def test_words_are_marked_that_go_come_and_are_unknown() -> None:
    known = frozenset(["a", "red", "blue", "cat", "on", "the", "grass"])
    html = markup.words("a red cat", ["a blue zebra"], known)
    assert "<del>red</del>" in html and "<ins>blue</ins>" in html
    assert '<ins><span class="cf-unknown" title="never learned by this model">zebra' in html
    assert "<b>zebra</b>" in html and "<b>red</b>" not in html
    two = markup.words("a red cat", ["a blue cat", "a red dog"], None)
    assert "<del>" not in two, "a word that any target keeps is not gone"


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no target"), (" \n ", "no target"), ("a\n" * 9, "9 targets"), ("a" * 2001, "letters")],
)
def test_targets_are_bounded(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        sources.targets(text)


# Tasks


def test_a_clock_tells_what_is_left(monkeypatch: Any) -> None:
    """A second a step: of 2 + 2 × 4 steps."""
    now = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    clock = Clock([("inverting", 2), ("editing", 3), ("editing", 3)])
    told = []
    for label, count in (("inverting", 2), ("editing", 4), ("editing", 4)):
        for made in range(1, count + 1):
            clock(label, made, count)
            told.append((round(clock.share, 3), clock.left))
    assert told[1] == (0.25, 6.0), "the steps of later parts are guessed"
    assert told[2] == (0.333, 6.0), "and known from a part's first step on"
    assert told[-1] == (1.0, 0.0)
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_a_task_tells_stops_and_fails() -> None:
    begun = threading.Event()

    def work(task: Task) -> None:
        for n in range(1000):
            task.progress("working", n, 1000)
            begun.set()
            time.sleep(0.002)

    task = Task(work)
    for seen in task:
        assert begun.wait(5)
        seen.stop()
    assert task.stopped and task.over and not task.error

    def refuse(task: Task) -> None:
        raise InputError("no\nsuch thing")

    failed = Task(refuse)
    for _ in failed:
        pass
    assert failed.error == "no such thing" and not failed.stopped


def test_the_end_of_a_task_is_always_told() -> None:
    """However soon it comes: what it did last is seen with `over`."""
    for _ in range(200):
        did: list[int] = []
        last = [(seen.over, len(did)) for seen in Task(lambda task, did=did: did.append(1))][-1]
        assert last == (True, 1)


@pytest.mark.fault("25")
def test_leaving_a_task_stops_it() -> None:
    """As when Gradio closes the generator of a tab that is gone."""
    ended = threading.Event()

    def work(task: Task) -> None:
        try:
            for n in range(10_000):
                task.progress("working", n, 10_000)
                time.sleep(0.001)
        finally:
            ended.set()

    following = iter(Task(work))
    next(following)
    following.close()
    assert ended.wait(5)


# Sessions


def test_a_session_is_bounded(tmp_path: Path, file: Path, studio: Studio) -> None:
    session = Session(tmp_path / "s")
    for seed in range(MOST_KEPT + 6):
        task = run(studio, session, asked(file, seed=seed, texts={"steps": "1"}))
        assert not task.error
    assert len(session.history) == MOST_KEPT
    assert all(each.file.is_file() and each.source_file.is_file() for each in session.history)
    assert sum(each.path is not None for each in session.history) <= 4
    folders = [each for each in session.folder.iterdir() if each.is_dir()]
    assert len(folders) <= MOST_KEPT + 6
    session.close()
    assert not session.folder.exists()


def test_the_tab_not_used_for_longest_is_closed(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, most=2)
    first, second = sessions("a"), sessions("b")
    assert sessions("a") is first
    sessions("c")
    assert len(sessions) == 2 and sessions("a") is first and sessions("b") is not second
    sessions.close("a")
    assert not first.folder.exists() and sessions("a") is not first


# Edits


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
    from counterflow.edit.job import Job
    from counterflow.edit.plan import Plan
    from counterflow.edit.recorded import checked

    record = checked(record, kept.file)
    job = Job.from_record(record, file, None, studio.seeded(3))
    job.open()
    inversion = job.inversion(studio.editor, lambda *_: None)
    *_, (again, _, _) = Plan.from_record(record).run(job, studio.editor, inversion, lambda *_: None)
    assert np.abs(np.asarray(again.image, int) - np.asarray(images.load(kept.file), int)).max() <= 1


@pytest.fixture
def run_edit(studio: Studio) -> Any:
    def made(request: editing.Asked) -> Session:
        session = studio.sessions("tab")
        task = run(studio, session, request)
        assert not task.error and not task.stopped, task.error
        return session

    return made


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
    assert record["mask"] == "mask.png" and record["mask_grow"] == 2
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
