"""What the page's components do, called as Gradio calls them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import gradio as gr
from gradio.route_utils import delete_files_created_by_app

from app_parts import asked, file, run_edit, studio  # noqa: F401
from counterflow import images
from counterflow.app import edit_tab, restore
from counterflow.app.compare_tab import CompareTab
from counterflow.app.draw_tab import edit_of
from counterflow.app.edit_events import EditEvents, pathless
from counterflow.app.mask_events import MaskEvents
from counterflow.app.mask_panel import EVERYWHERE, FOUND, PAINTED, SIDE
from counterflow.app.page import build
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.toybox.scene import sample
from tools import SOURCE, TARGETS

REQUEST = gr.Request(session_hash="tab")


@dataclass
class Page:
    """The tabs of a page that is not served."""

    studio: Studio
    asking: edit_tab.Asking
    edit: EditEvents
    masks: MaskEvents
    comparing: CompareTab

    @property
    def session(self) -> Session:
        return self.studio.sessions("tab")

    def compare(self, methods: list[str], file: Path, *mask: Any, targets: str = TARGETS[0]) -> Any:
        """What a comparison shows at its end."""
        self.comparing.history = "history"
        given = (methods, str(file), SOURCE, targets, 0, *(mask or (EVERYWHERE, None, 0, 0, False)))
        shown: dict[Any, Any] = {}
        for each in self.comparing.compare(REQUEST, *given):
            shown |= each
        return shown


@pytest.fixture
def page(studio: Studio) -> Page:
    with gr.Blocks(analytics_enabled=False):
        asking = edit_tab.asking(studio)
        showing = edit_tab.showing(asking.desk)
        comparing = CompareTab(studio, asking)
    edit = EditEvents(studio, asking, showing)
    return Page(studio, asking, edit, MaskEvents(studio, asking), comparing)


def test_a_comparison_does_not_change_what_the_first_tab_shows(
    page: Page, run_edit: Any, file: Path
) -> None:
    shown = run_edit(asked(file)).history[0]
    page.edit.result(page.session, shown)
    page.compare(["euler", "sdedit"], file)
    assert len(page.session.history) == 3 and page.session.shown is shown
    assert page.edit.reuse(REQUEST)[page.asking.picture] == str(shown.file)
    assert "comparison" in pathless(page.session.history[0])


def test_a_comparison_takes_the_mask_and_the_first_target(page: Page, file: Path) -> None:
    """Of a method that needs one nothing else is refused where there is none."""
    without = page.compare(["kv-edit", "euler"], file)[page.comparing.results]
    assert [text.partition(":")[0] for _, text in without] == ["source", "kv-edit", "euler"]
    assert "mask" in without[1][1] and "forwards" in without[2][1]
    paint = np.zeros((SIDE, SIDE), bool)
    paint[:320] = True
    for mask in ((PAINTED, paint, 0, 0, True), (FOUND, None, 0, 0, False)):
        cells = page.compare(["kv-edit"], file, *mask, targets="\n".join(TARGETS))
        assert "forwards" in cells[page.comparing.results][1][1]
        kept = page.session.history[0]
        record = images.read_settings(kept.file)
        assert kept.target == TARGETS[0] and kept.mask is not None
        assert record["mask"] == kept.mask.name and not record["auto_mask"]
        assert kept.facts["mask"].endswith("of the picture")
    before, after = (np.asarray(images.load(p.file)) for p in page.session.history[:2])
    assert before.shape == after.shape


def test_a_preset_that_needs_a_mask_shows_where_to_paint_one(page: Page) -> None:
    panel = page.asking.mask
    updates = page.edit.preset("Only inside a mask", EVERYWHERE)
    assert updates[panel.fold]["open"] and updates[panel.how] == PAINTED
    assert page.edit.chosen("kv-edit", FOUND)[panel.how] == FOUND
    assert panel.how not in page.edit.preset("Fast", EVERYWHERE)


def test_what_is_unfit_is_told_when_a_picture_is_given(
    page: Page, tmp_path: Path, monkeypatch: Any
) -> None:
    """Its world and its size; also of a picture whose settings cannot be read."""
    noise = Image.effect_noise((200, 150), 80).convert("RGB")
    plain, damaged = tmp_path / "plain.png", tmp_path / "damaged.png"
    noise.save(plain)
    images.save_png(noise, damaged, {"command": "edit", "seed": "x"})
    for path, also in ((plain, ""), (damaged, restore.UNREADABLE)):
        note = page.edit.given(REQUEST, str(path))[page.asking.note]
        assert "no picture of the toybox" in note and "expect blur" in note and also in note
    for size in ((1, 1), (8000, 16)):
        Image.new("RGB", size).save(plain)
        updates = page.edit.given(REQUEST, str(plain))
        assert "crop or enlarge it" in updates[page.asking.note]
        assert updates[page.asking.picture] is None
    monkeypatch.setattr(page.studio.editor.backbone, "longest", 32)
    Image.new("RGB", (200, 25)).save(plain)
    assert "at most 32 pixels a side" in page.edit.given(REQUEST, str(plain))[page.asking.note]


def test_a_mask_s_file_is_taken_and_kept_as_it_is(page: Page, file: Path, tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:21, 33:50] = True
    given = tmp_path / "mask.png"
    Image.fromarray(mask).save(given)
    value = page.masks.give(REQUEST, str(given), str(file))[page.asking.mask.painter]
    layer = Image.open(value["layers"][0]).getchannel("A")
    page.compare(["kv-edit"], file, PAINTED, np.asarray(layer) >= 128, 0, 0, False)
    kept = page.session.history[0]
    assert kept.mask is not None and (np.asarray(Image.open(kept.mask)) == mask).all()
    Image.fromarray(mask[:32]).save(given)
    (said,) = page.masks.give(REQUEST, str(given), str(file)).values()
    assert "64x32" in said and str(tmp_path) not in said


def test_a_closed_tab_takes_what_it_sent_along(page: Page, studio: Studio, file: Path) -> None:
    """Where no other tab sent the same."""
    uploads = [studio.folder / name / file.name for name in ("one", "two")]
    for each in uploads:
        each.parent.mkdir()
        each.write_bytes(file.read_bytes())
        page.edit.given(REQUEST, str(each))
    page.edit.given(gr.Request(session_hash="other"), str(uploads[1]))
    studio.sessions.close("tab")
    assert [each.exists() for each in uploads] == [False, True]
    studio.sessions.close("other")
    assert not uploads[1].exists()


def test_a_session_s_files_are_neither_copied_nor_swept_by_gradio(
    studio: Studio, monkeypatch: Any
) -> None:
    """So they are there as long as the history shows them, and gone with it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(studio.folder))
    built = build(studio)
    result = studio.sessions("tab").place() / "result.png"
    result.touch()
    for block in built.blocks.values():
        assert block.move_resource_to_block_cache(str(result)) == str(result)
    upload = studio.folder / "upload.png"
    upload.touch()
    built.upload_file_set.add(str(upload))
    delete_files_created_by_app(built, None)
    assert result.exists() and not upload.exists()


@pytest.mark.parametrize("seed", range(30))
def test_the_scene_of_a_seed_is_that_of_toybox_draw(seed: int) -> None:
    edit = edit_of(seed)
    assert edit.source == sample(seed) and edit.target != edit.source
