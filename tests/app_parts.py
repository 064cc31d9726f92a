"""What tests of the page's parts share: a model, a picture, and edits as the page makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from counterflow.app import editing
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.edit.editor import Editor
from counterflow.edit.job import ModelChoice
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS


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


@pytest.fixture
def run_edit(studio: Studio) -> Any:
    def made(request: editing.Asked) -> Session:
        session = studio.sessions("tab")
        task = run(studio, session, request)
        assert not task.error and not task.stopped, task.error
        return session

    return made
