"""The command line: parse, check, call. Heavy modules are imported only when they are needed.

Exit codes: 0 done, 1 unexpected error, 2 bad input or usage, 3 the model cannot be loaded or used,
4 NaN or infinite numbers, 5 done, but something in it failed or differs, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from counterflow import __version__
from counterflow.backbones.loading import IMPORTED
from counterflow.cli import (
    batch,
    bench,
    compare,
    edit,
    interrupt,
    inversions,
    methods,
    models,
    page,
    replay,
    report,
    system,
    toybox,
    trust,
    tune,
    vital,
)
from counterflow.errors import CounterflowError, plain

app = typer.Typer(
    name="counterflow",
    help="Edit real pictures with a flow transformer: invert, control, compensate.",
    epilog="Exit codes: 0 done, 1 unexpected error, 2 bad input, 3 model, 4 numerics, "
    "5 done, but something in it failed or differs, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
edit.register(app)
trust.register(app)
inversions.register(app)
replay.register(app)
methods.register(app)
batch.register(app)
bench.register(app)
compare.register(app)
tune.register(app)
report.register(app)
vital.register(app)
system.register(app)
models.register(app)
page.register(app)
app.add_typer(toybox.app, name="toybox")


def _version(asked: bool) -> bool:
    """Print the version and stop, if that is asked."""
    if asked:
        print(f"counterflow {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """The options of the program itself; its help is the app's."""


def main(args: list[str] | None = None) -> None:
    """Run the command line; every error is one line on stderr and an exit code.

    Without `args` it is the program itself, with those of the shell.
    """
    if args is None:
        interrupt.listen()
    args = sys.argv[1:] if args is None else args
    warnings.showwarning = _Warnings()
    warnings.simplefilter("always", UserWarning)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")  # their messages do not help our users
    for name in IMPORTED:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        code = app(args=args or ["--help"], prog_name="counterflow", standalone_mode=False)
    except CounterflowError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = interrupt.CODE
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors
            _fail(error.format_message(), 2)
        if os.environ.get("COUNTERFLOW_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename:  # of a place that nothing else checked
            _fail(f"{os.fsdecode(error.filename)}: {error.strerror}; check the path", 2)
        reason = str(error).strip().splitlines() or [""]
        _fail(f"{type(error).__name__}: {reason[0]} (COUNTERFLOW_DEBUG=1 shows the traceback)", 1)
    if code == interrupt.CODE:  # Typer returns it for Ctrl-C
        _fail("interrupted", interrupt.CODE)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    """Print one line on stderr and exit."""
    if interrupt.happened.is_set():  # what else went wrong came of it
        interrupt.leave()
    print(f"counterflow: {' '.join(plain(message).split())}", file=sys.stderr)
    sys.exit(code)


class _Warnings:
    """Prints a warning to our user on stderr, each once."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def __call__(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = plain(str(message))
        if issubclass(category, UserWarning) and text not in self.told:
            self.told.add(text)
            print(f"counterflow: warning: {text}", file=sys.stderr)
