"""The page's parts without a page: forms, marks, sessions, tasks, what a stranger's file may do."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

import gradio as gr

from app_parts import asked, file, run, studio  # noqa: F401
from counterflow.app import forms, markup, presets, sources
from counterflow.app.session import MOST_KEPT, Session, Sessions
from counterflow.app.studio import Studio
from counterflow.app.task import Clock, Task
from counterflow.bench.tune.record import read
from counterflow.cli.page import check_address
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.registry import METHODS
from tools import refused

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


@pytest.mark.parametrize("bundled", [True, False])
@pytest.mark.parametrize("preset", presets.PRESETS, ids=str)
def test_a_preset_is_a_method_with_its_settings(preset: presets.Preset, bundled: bool) -> None:
    method = preset.method(bundled)
    assert presets.of(method, bundled) == preset.label
    assert presets.of(method.but(steps=11), bundled) == presets.OTHER
    assert "forwards" in presets.about(preset.name, method)
    found = read(Path(__file__).parents[1] / "docs" / "tuned.json", 40)
    assert preset.tuned in ({}, found.get(preset.name))
    cost = dict((label, text) for text, label in presets.choices(bundled))[preset.label]
    assert int(cost.split(" · ")[1].split()[0]) <= 40 or not bundled or "paper" in preset.label


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
