"""Visitors who err, who mean harm, who come in numbers, or whose window is small."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from counterflow.app import sources
from doing import STATUS, downloaded, edit, finished, give, preset, take

TOO_WIDE = """[...document.querySelectorAll('.gradio-container *')].filter(each => {
    const box = each.getBoundingClientRect();
    return document.documentElement.scrollWidth > innerWidth && box.right > innerWidth && box.width;
}).map(each => `${each.tagName} ${each.id} ${each.className} ${each.getBoundingClientRect().right}`)
    .slice(0, 12).join("; ")"""
"""What makes the page wider than its window."""
GRADIO_S = 'aria-label="Empty value"'
"""A frame without a picture, as Gradio draws it: its label is on an element that takes none."""


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_file_that_is_no_picture_is_told_so(visit: Any, shot: Any) -> None:
    tab = visit()
    give(tab, {"name": "bad.png", "mimeType": "image/png", "buffer": b"\x89PNG no picture"})
    tab.get_by_role("alert").get_by_text("bad.png").wait_for()
    assert "/" not in tab.get_by_role("alert").inner_text(), "no path of ours is told"
    shot(tab, "bad-file", whole=False)
    tab.click("#cf-edit-run")
    tab.get_by_text("There is no target yet").wait_for()


@pytest.mark.fault("25")
def test_a_picture_of_too_many_pixels_and_a_file_of_too_many_bytes(visit: Any, shot: Any) -> None:
    tab = visit()
    wide = png(Image.new("1", (12_000, 12_000)))
    give(tab, {"name": "wide.png", "mimeType": "image/png", "buffer": wide})
    tab.get_by_role("alert").get_by_text("64000000 pixels").wait_for()
    large = b"\x89PNG" + bytes(sources.MOST_BYTES)
    give(tab, {"name": "large.png", "mimeType": "image/png", "buffer": large})
    tab.get_by_text("maximum allowed size").first.wait_for()
    shot(tab, "over-large", whole=False)


def test_a_picture_of_another_world_is_told_so_before_the_edit(visit: Any, shot: Any) -> None:
    tab = visit()
    noise = Image.effect_noise((200, 150), 80).convert("RGB")
    give(tab, {"name": "noise.png", "mimeType": "image/png", "buffer": png(noise)})
    tab.get_by_role("alert").get_by_text("no picture of the toybox's world").wait_for()
    shot(tab, "unfit", whole=False)


@pytest.mark.fault("25")
def test_markup_in_a_sentence_is_words(visit: Any, shot: Any) -> None:
    """`visit` fails the test if a dialog opens or a script errs."""
    tab = visit()
    take(tab)
    wicked = '<script>alert(1)</script><img src=x onerror="alert(2)"> a blue bear'
    tab.fill("#cf-targets textarea", wicked)
    tab.get_by_text("never learned").wait_for()
    edit(tab)
    assert "<script>" in tab.inner_text("#cf-report").replace(" ", "")
    inserted = "#cf-report script, #cf-words script, #cf-words img, #cf-history img[onerror]"
    assert tab.locator(inserted).count() == 0
    shot(tab, "script")


def test_two_tabs_have_nothing_in_common(visit: Any) -> None:
    one, two = visit(), visit()
    take(one, 0)
    take(two, 1)
    one.click("#cf-edit-run")
    two.click("#cf-edit-run")
    finished(one, 1)
    finished(two, 1)
    assert "hat" in one.inner_text("#cf-report") and "frog" not in one.inner_text("#cf-report")
    assert "dog" in two.inner_text("#cf-report") and "bear" not in two.inner_text("#cf-report")
    shown = [tab.get_attribute("#cf-history img", "src") for tab in (one, two)]
    assert shown[0] != shown[1]


def test_a_dropped_result_restores_its_settings(visit: Any, shot: Any, tmp_path: Path) -> None:
    tab = visit()
    take(tab, 0)
    tab.fill("#cf-seed input", "7")
    edit(tab)
    file = downloaded(tab, "#cf-download", tmp_path)
    said = tab.input_value("#cf-targets textarea")
    for again, source in ((tab, "is here again"), (visit(), "is not in it")):
        again.fill("#cf-targets textarea", "")
        preset(again, "The paper's: FTEdit")
        give(again, file)
        again.get_by_text(source).wait_for()
        again.wait_for_function(
            "said => document.querySelector('#cf-targets textarea').value == said", arg=said
        )
        again.wait_for_function("document.querySelector('#set-steps input').value == '4'")
        assert again.input_value("#cf-seed input") == "7"
    shot(again, "restored", whole=False)


def test_a_narrow_window_has_all_of_it(visit: Any, shot: Any) -> None:
    tab = visit(390, 844, has_touch=True)
    shot(tab, "narrow-first")
    take(tab)
    edit(tab)
    for name in ("Compare methods", "Draw a picture", "Edit"):
        tab.get_by_role("tab", name=name, exact=True).click()
        assert not tab.evaluate(TOO_WIDE), name
        shot(tab, f"narrow-{name.split()[0].lower()}")


def test_the_keyboard_is_enough(visit: Any) -> None:
    """From the example to the result, by Tab, Enter and letters."""
    tab = visit()
    tab.locator("#cf-examples button").first.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('#cf-source textarea').value != ''")
    preset(tab, "Fast")
    tab.focus("#cf-targets textarea")
    tab.keyboard.press("Control+End")
    tab.keyboard.type(" at night")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "cf-edit-run"
    tab.keyboard.press("Enter")
    finished(tab, 1)
    assert "night" in tab.inner_text("#cf-report ins >> nth=-1")


def test_a_scene_is_drawn_compared_and_used(visit: Any, shot: Any) -> None:
    tab = visit()
    tab.get_by_role("tab", name="Draw a picture").click()
    tab.click("#cf-show-scene")
    tab.wait_for_selector("#cf-drawn img")
    tab.click("#cf-draw-run")
    tab.get_by_text("a happy red cat standing on the grass").last.wait_for()
    tab.wait_for_selector("#cf-draw-run:not([disabled])")
    shot(tab, "draw")
    tab.click("#cf-show-scene")
    tab.locator("#cf-caption").get_by_text("bear").wait_for()
    tab.click("#cf-use")
    tab.wait_for_function("document.querySelector('#cf-source textarea').value.includes('bear')")
    tab.get_by_role("tab", name="Compare methods").click()
    tab.wait_for_selector("#cf-compare-run")
    for name in ("flowalign", "directedit"):
        tab.locator(".token", has_text=name).locator(".token-remove").click()
    tab.click("#cf-compare-run")
    tab.wait_for_function("document.querySelectorAll('#cf-comparison img').length == 3")
    tab.wait_for_selector("#cf-compare-run:not([disabled])")
    shot(tab, "compare")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_has_no_serious_finding(visit: Any, shot: Any, dark: bool) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = visit(color_scheme="dark" if dark else "light")
    take(tab)
    edit(tab)
    found = []
    for name in ("Compare methods", "Draw a picture", "Edit"):
        tab.get_by_role("tab", name=name, exact=True).click()
        tab.wait_for_timeout(300)
        for each in axe.run(tab).response["violations"]:
            nodes = [node["html"][:160] for node in each["nodes"]]
            nodes = [html for html in nodes if GRADIO_S not in html]
            if nodes and each["impact"] in ("serious", "critical"):
                found.append((name, each["id"], len(nodes), nodes[:4]))
    shot(tab, "dark" if dark else "light")
    assert not found, "\n".join(map(str, found))
    assert tab.locator(STATUS).count() == 1
