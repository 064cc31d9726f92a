"""Edits on the page, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterflow import images
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from doing import STATUS, downloaded, edit, finished, painter, preset, take

FIRST_VIEW = """() => document.querySelector('#set-steps input')?.value &&
    performance.now() - performance.getEntriesByType('navigation')[0].responseStart"""


def test_how_long_a_visitor_waits(visit: Any, tell: Any) -> None:
    """Figures for people to read: a busy machine decides them too."""
    tab = visit()
    for _ in range(2):
        seconds = tab.wait_for_function(FIRST_VIEW, polling=20).json_value() / 1000
        tell(f"from the first answer to the first view: {seconds:.2f} s")
        tab.reload()
    tab.wait_for_function(FIRST_VIEW)
    tab.click("#cf-examples button >> nth=0")
    tab.wait_for_function("document.querySelector('#cf-source textarea').value != ''")
    for n in (1, 2):
        tab.evaluate("window.clicked = performance.now()")
        tab.click("#cf-edit-run")
        tab.wait_for_selector(f"{STATUS} [role=progressbar]")
        seen = "performance.now() - window.clicked"
        if n == 1:
            tab.wait_for_function("document.querySelector('#cf-slider img')", polling=20)
            tell(f"from Edit to the first preview: {tab.evaluate(seen) / 1000:.2f} s")
        finished(tab, n)
        tell(f"from Edit to the result: {tab.evaluate(seen) / 1000:.2f} s")


def test_an_example_is_edited_and_its_file_says_how(visit: Any, shot: Any, tmp_path: Path) -> None:
    tab = visit()
    shot(tab, "first-view")
    take(tab)
    assert "yellow" in tab.inner_text("#cf-words ins") and "blue" in tab.inner_text("#cf-words del")
    tab.click("#cf-edit-run")
    tab.wait_for_selector("#cf-slider img")
    shot(tab, "preview", whole=False)
    finished(tab, 1)
    shot(tab, "result")
    report = tab.inner_text("#cf-report")
    assert "success" in report and "paired" in report and "14" in report
    file = downloaded(tab, "#cf-download", tmp_path)
    record = images.read_settings(file)
    assert (record["command"], record["image"]) == ("edit", "example-1.png")
    assert record["target"].endswith("yellow hat") and record["settings"]["steps"] == 4
    for name, wanted in (("Difference", "#cf-difference img"), ("The way there", "#cf-way img")):
        tab.get_by_role("tab", name=name).click()
        if name == "The way there":
            tab.click("#cf-show-way")
        tab.wait_for_selector(wanted)
        shot(tab, name.lower().replace(" ", "-"))
    tab.click("#cf-reuse")
    tab.wait_for_function("document.querySelector('#cf-source textarea').value.includes('yellow')")


def test_several_targets_are_edited_one_after_another(visit: Any, shot: Any) -> None:
    tab = visit()
    take(tab, 1)
    source = tab.input_value("#cf-source textarea")
    tab.fill("#cf-targets textarea", f"{source} and a red hat\n{source.replace('yellow', 'blue')}")
    edit(tab, 2)
    assert "blue" in tab.inner_text("#cf-report ins")
    tab.click("#cf-history button >> nth=1")
    tab.wait_for_function("document.querySelector('#cf-report').innerText.includes('red hat')")
    shot(tab, "several-targets")


def test_a_painted_mask_holds(visit: Any, shot: Any, tmp_path: Path) -> None:
    tab = visit()
    take(tab)
    tab.locator("#cf-mask button").first.click()
    with tab.expect_response("**/0.png"):  # the picture, put under the brush
        tab.get_by_label("Where I paint").check()
    box = painter(tab).bounding_box()
    middle, top = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.35
    tab.mouse.move(middle - 30, top)
    tab.mouse.down()
    tab.mouse.move(middle + 30, top + 8, steps=12)
    tab.mouse.up()
    tab.get_by_label("outside, keep the picture's own pixels").check()
    shot(tab, "mask")
    edit(tab)
    shot(tab, "mask-result")
    mask = np.asarray(Image.open(downloaded(tab, "#cf-mask-file", tmp_path))) > 0
    after = np.asarray(images.load(downloaded(tab, "#cf-download", tmp_path)))
    before = np.asarray(render(sample(55)))
    assert 0.002 < mask.mean() < 0.3
    assert mask.shape == after.shape[:2] == before.shape[:2]


def test_a_mask_is_given_again_for_the_preset_that_needs_one(
    visit: Any, shot: Any, tmp_path: Path
) -> None:
    """The preset opens the panel, and a mask's file comes back as it was."""
    tab = visit()
    take(tab)
    with tab.expect_response("**/0.png"):
        tab.locator("#cf-preset label", has_text="Only inside a mask").locator("input").check()
    painter(tab)
    assert tab.get_by_label("Where I paint").is_checked()
    mask = np.zeros((128, 128), bool)
    mask[20:61, 40:90] = True
    Image.fromarray(mask).save(tmp_path / "mine.png")
    with tab.expect_file_chooser() as chooser:
        tab.click("#cf-give-mask")
    with tab.expect_response("**/1.png"):
        chooser.value.set_files(tmp_path / "mine.png")
    painter(tab)
    shot(tab, "mask-given")
    edit(tab)
    shot(tab, "mask-given-result")
    again = np.asarray(Image.open(downloaded(tab, "#cf-mask-file", tmp_path))) > 0
    assert (again != mask).mean() < 0.01
    assert "of the picture" in tab.inner_text("#cf-report")


def test_an_edit_that_waits_is_cancelled(visit: Any, shot: Any) -> None:
    """While another tab's is at work."""
    one, two = visit(), visit()
    take(one, 0, "The paper's: FTEdit")
    one.fill("#set-steps input", "300")
    one.keyboard.press("Tab")
    take(two, 1)
    one.click("#cf-edit-run")
    one.wait_for_selector(f"{STATUS} [role=progressbar]")
    two.click("#cf-edit-run")
    two.locator(STATUS).get_by_text("Waiting").wait_for()
    shot(two, "waiting", whole=False)
    two.click("#cf-edit-cancel")
    two.get_by_text("Cancelled.").wait_for()
    two.wait_for_selector("#cf-edit-run:not([disabled])")
    assert one.locator(f"{STATUS} [role=progressbar]").count() == 1
    one.click("#cf-edit-cancel")
    one.get_by_text("Cancelled.").wait_for()
    edit(two)


@pytest.mark.fault("25")
def test_an_edit_that_is_not_let_in_can_be_asked_again(visit: Any, shot: Any) -> None:
    tab = visit()
    take(tab)
    full = {"detail": "Queue is full. Max size is 16 and size is 16."}
    tab.route("**/queue/join*", lambda route: route.fulfill(status=503, json=full))
    tab.click("#cf-edit-run")
    tab.locator(STATUS).get_by_text("not done").wait_for()
    tab.wait_for_selector("#cf-edit-run:not([disabled])")
    shot(tab, "full", whole=False)
    tab.unroute("**/queue/join*")
    edit(tab)


@pytest.mark.fault("25")
def test_a_running_edit_is_cancelled(visit: Any, shot: Any) -> None:
    tab = visit()
    take(tab, 0, "The paper's: FTEdit")
    tab.click("#cf-edit-run")
    tab.wait_for_selector(f"{STATUS} [role=progressbar]")
    shot(tab, "running", whole=False)
    tab.click("#cf-edit-cancel")
    tab.get_by_text("Cancelled.").wait_for()
    tab.wait_for_selector("#cf-edit-run:not([disabled])")
    tab.wait_for_timeout(3000)  # what was under way comes late, and must not be said instead
    said = tab.inner_text(STATUS)  # Gradio's own "Error" is among it, and hidden
    assert said.endswith("Cancelled.") and "not done" not in said
    assert tab.locator("#cf-history img").count() == 0
    preset(tab, "Fast")
    edit(tab)
