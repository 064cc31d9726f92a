"""What a shell completes, without torch, and the options that people expect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from counterflow import __version__
from counterflow.backbones.registry import BUNDLED
from counterflow.methods import declared
from counterflow.methods.registry import METHODS, entry, method
from tools import Run


def completed(*words: str, shell: str = "bash", **more: str) -> list[str]:
    """The lines that the program prints when the last word is to be completed."""
    line = " ".join(["counterflow", *words])
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words)), "_TYPER_COMPLETE_ARGS": line}
    asked |= {"_COUNTERFLOW_COMPLETE": f"complete_{shell}", **more}
    command = [sys.executable, "-X", "importtime", "-m", "counterflow"]
    run = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True)
    imported = {each.rpartition("|")[2].strip() for each in run.stderr.splitlines()}
    assert "typer" in imported and not imported & {"torch", "diffusers", "transformers"}
    return run.stdout.splitlines()


@pytest.mark.parametrize("name", METHODS)
def test_what_is_read_as_text_is_what_is_declared(name: str) -> None:
    """Names, order, defaults and help of the settings, and the title."""
    how = method(name)
    told = [(each.name, each.default, each.help) for each in declared.settings(name)]
    real = [(s.name, s.kind.write(getattr(how, s.name)), s.help) for s in how.declared()]
    assert told == real and real
    assert declared.title(name) == (entry(name).title or how.title) != ""


def test_a_method_whose_file_is_not_found_has_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another package, perhaps; its title is its entry's."""
    monkeypatch.setitem(METHODS, "other", type(entry("ftedit"))("nowhere.at_all:Other", "Other"))
    assert declared.settings("other") == [] and declared.title("other") == "Other"


def test_methods_and_their_settings_are_completed() -> None:
    assert completed("edit", "a.png", "--method", "ft") == [n for n in METHODS if n[:2] == "ft"]
    found = completed("edit", "a.png", "--method", "ftedit-2", "--set", "it")
    assert found == ["iterations=2"]
    assert "begin=0.85" in completed("edit", "a.png", "--set", ""), "the default's own"
    found = completed("compare", "a.png", "--methods", "ftedit,flow")
    assert found == ["ftedit,flowedit", "ftedit,flowalign"]


def test_models_are_completed(tmp_path: Path) -> None:
    """Bundled, known, and in the cache."""
    cached = tmp_path / "models--some--one" / "snapshots" / "0123" / "model_index.json"
    cached.parent.mkdir(parents=True)
    cached.write_text("{}")
    found = completed("edit", "a.png", "--model", "", HF_HUB_CACHE=str(tmp_path))
    assert "toybox" in found and set(found[:2]) <= {*BUNDLED, "some/one"}
    assert {"some/one", "stabilityai/stable-diffusion-3.5-medium"} <= set(found)


@pytest.mark.parametrize(("shell", "text"), [("zsh", '"ftedit":"FTEdit'), ("fish", "ftedit\tFTE")])
def test_other_shells_are_told_the_titles(shell: str, text: str) -> None:
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    found = completed("methods", "fte", shell=shell, **action)
    assert text in "\n".join(found)


BASH = """
eval "$(counterflow --show-completion)"
[[ $(complete -p counterflow) =~ -F\ ([a-z_]+) ]]
COMP_WORDS=(counterflow methods fte) COMP_CWORD=2
${BASH_REMATCH[1]} counterflow
echo "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_script(tmp_path: Path) -> None:
    """What the program prints makes a real shell complete."""
    program = tmp_path / "counterflow"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m counterflow "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        ["bash", "-c", BASH], env=os.environ | path, capture_output=True, text=True
    )
    assert run.stdout.split() == [name for name in METHODS if name.startswith("fte")], run.stderr


@pytest.mark.parametrize(
    "words", [["-h"], ["edit", "-h"], ["toybox", "-h"], ["toybox", "draw", "-h"]]
)
def test_short_help(words: list[str], run: Run) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "") and "Usage: counterflow" in out
    assert run(*words[:-1], "--help")[1] == out


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"counterflow {__version__}\n", "")
