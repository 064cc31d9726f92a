"""A served page, and a headless Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import serving
from tiny.sd3 import saved

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SHOTS = Path(__file__).parents[1] / "out" / "screenshots"
"""Where the pictures of the page go; git ignores the folder."""
FLAGS = ["--no-sandbox", "--disable-extensions", "--disable-background-networking"]
WITHOUT = "the page's browser tests are left out: no chromium (apt-get install chromium)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, as Debian has it; without one the tests are skipped with a warning."""
    if CHROMIUM is None:
        if os.environ.get("COUNTERFLOW_BROWSER"):
            pytest.fail(WITHOUT)
        warnings.warn(WITHOUT, stacklevel=1)
        pytest.skip(WITHOUT)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def served(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page on the bundled model."""
    with serving(tmp_path_factory.mktemp("page")) as page:
        yield page.url


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random pipeline as a folder."""
    return saved(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def visit(browser: Any, served: str) -> Iterator[Any]:
    """Open the page in a tab of its own; what its scripts complain of fails the test."""
    contexts, complaints = [], []

    def opened(width: int = 1280, height: int = 900, **options: Any) -> Any:
        size = {"width": width, "height": height}
        still = {"viewport": size, "reduced_motion": "reduce"}  # what moves takes time to draw
        context = browser.new_context(**still, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: complaints.extend(outside(request.url)))
        tab.goto(served)
        tab.wait_for_selector("#cf-edit-run")
        return tab

    def outside(url: str) -> list[str]:
        local = url.startswith((served, "data:", "blob:"))
        return [] if local else [f"a request to {url}"]

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Any:
    """Print a figure past pytest."""

    def told(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return told


@pytest.fixture
def shot() -> Any:
    """Keep a picture of a tab, for people to look at."""

    def taken(tab: Any, name: str, whole: bool = True) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=SHOTS / f"{name}.png", full_page=whole)

    return taken
