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
from doing import STATUS, downloaded, edit, finished, preset, take


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
    assert (record["command"], record["image"]) == ("edit", "toybox-55.png")
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
    tab.get_by_role("button", name="Mask", exact=True).click()
    tab.get_by_label("Where I paint").check()
    canvas = tab.locator("#cf-painter canvas").first
    canvas.wait_for()
    tab.wait_for_timeout(1500)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
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
    assert tab.locator("#cf-history img").count() == 0
    preset(tab, "Fast")
    edit(tab)
