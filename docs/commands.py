"""Writes the page of commands, as the command line's own help has it: python docs/commands.py."""

from __future__ import annotations

import html
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from counterflow.cli import app

PAGE = Path(__file__).with_name("commands.md")


def page() -> str:
    """Typer's own page of all commands and options, without its signs for HTML."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command,
        ctx=typer.Context(command),
        name="counterflow",
        title="Every command, with its options",
    )
    return html.unescape(text).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
