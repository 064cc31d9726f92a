"""What a visitor does on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STATUS = "#cf-edit-status"


def take(tab: Any, example: int = 0, method: str = "Fast") -> None:
    """Choose an example and a preset."""
    tab.click(f"#cf-examples button >> nth={example}")
    tab.wait_for_selector("#cf-picture img")
    tab.wait_for_function("document.querySelector('#cf-source textarea').value != ''")
    preset(tab, method)


def preset(tab: Any, label: str) -> None:
    """Choose a preset, and wait until its settings are there."""
    tab.locator("#cf-preset label", has_text=label).locator("input").check()
    steps = {"Fast": "4", "The paper's: FTEdit": "30"}[label]
    tab.wait_for_function("n => document.querySelector('#set-steps input').value == n", arg=steps)


def edit(tab: Any, results: int = 1) -> None:
    """Press Edit, and wait for the results."""
    tab.click("#cf-edit-run")
    finished(tab, results)


def finished(tab: Any, results: int) -> None:
    """Wait until so many results are in the history and nothing runs."""
    tab.wait_for_function(
        "n => document.querySelectorAll('#cf-history img').length == n", arg=results
    )
    tab.wait_for_selector("#cf-edit-run:not([disabled])")


def painter(tab: Any) -> Any:
    """The canvas that is painted on, once it looks the same for a second."""
    canvas, before = tab.locator("#cf-painter canvas").first, b""
    canvas.scroll_into_view_if_needed()
    while (now := canvas.screenshot()) != before:
        before = now
        tab.wait_for_timeout(1000)
    return canvas


def downloaded(tab: Any, button: str, folder: Path) -> Path:
    """The file that a button gives."""
    with tab.expect_download() as waiting:
        tab.click(button)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def give(tab: Any, file: Path | dict[str, Any]) -> None:
    """Drop a picture into the form."""
    tab.set_input_files("#cf-picture input[type=file]", file)
