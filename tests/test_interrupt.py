"""Ctrl-C: one line, exit code 130, within a second, and nothing half done is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from counterflow.cli import show
from tools import PROMPT, TARGET, Run

AT_A_STEP = """
from counterflow.methods.run import Run
done = Run.done
def told(self, step):
    print("at work", flush=True)
    done(self, step)
Run.done = told
"""
SWALLOWED = """
import time
from counterflow.cli import methods
def stubborn():
    print("at work", flush=True)
    while True:
        try:
            time.sleep(0.01)
        except KeyboardInterrupt:
            pass
methods._listed = stubborn
"""
OTHERWISE = """
import time
from counterflow.cli import methods
def converted():
    print("at work", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise ImportError("cannot be imported") from None
methods._listed = converted
"""


def heard() -> None:
    """Of a process that is begun: `nohup` lets all that it starts ignore a hang-up."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def interrupted(
    before: str, *args: str | Path, number: int = signal.SIGINT
) -> tuple[int | None, str, float]:
    """Exit code, stderr and seconds from a signal on, given when it prints that it is at work."""
    script = f"{before}\nfrom counterflow.cli import main\nmain()"
    command = [sys.executable, "-c", script, *map(str, args)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": heard}
    with subprocess.Popen(command, **pipes) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == b"at work\n"
            began = time.perf_counter()
            process.send_signal(number)
            process.wait(timeout=60)
            seconds = time.perf_counter() - began
            return process.returncode, process.stderr.read().decode(), seconds
        finally:
            process.kill()


@pytest.mark.fault("F28")
def test_an_edit_is_interrupted(picture: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--source", PROMPT, "--target", TARGET, "--target", "a dog", "-o", out]
    more = ["--model", model, "--method", "ftedit", "--steps", "1000"]
    code, err, seconds = interrupted(AT_A_STEP, "edit", picture, *words, *more)
    assert (code, err) == (130, "counterflow: interrupted\n")
    assert seconds < 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [picture.name]


@pytest.mark.fault("F28")
def test_a_benchmark_is_interrupted(model: str, tmp_path: Path) -> None:
    """What is there is whole, and the same command goes on."""
    more = ["--method", "euler", "--limit", "1", "--engine", "inline", "--model", model]
    code, err, seconds = interrupted(AT_A_STEP, "bench", "-o", tmp_path / "out", *more)
    assert (code, err) == (130, "counterflow: interrupted\n")
    assert seconds < 1
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("how", [SWALLOWED, OTHERWISE])
def test_an_interrupt_that_a_library_swallows_or_makes_an_error(how: str) -> None:
    """As some do while they are imported."""
    code, err, seconds = interrupted(how, "methods")
    assert (code, err) == (130, "counterflow: interrupted\n")
    assert seconds < 1


@pytest.mark.fault("F28")
def test_called_as_a_function_it_says_so_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(show, "table", stop)
    assert run("methods") == (130, "", "counterflow: interrupted\n")


HELD = """
import time
from counterflow.cli import interrupt, methods
def held():
    interrupt.heed("SIGTERM", "SIGHUP")
    with interrupt.temporary_folder("held-") as folder:
        (folder / "a" / "b").mkdir(parents=True)
        print("at work", flush=True)
        while True:
            try:
                time.sleep(0.01)
            except KeyboardInterrupt:
                pass
methods._listed = held
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_temporary_folder_is_gone_even_where_an_interrupt_is_swallowed(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code, err, seconds = interrupted(HELD, "methods", number=number)
    assert (code, err) == (128 + number, "counterflow: interrupted\n")
    assert seconds < 1.5 and not list(tmp_path.iterdir())
