"""The page: what is at its top, and its tabs."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr

from counterflow.app import edit_tab
from counterflow.app.compare_tab import CompareTab
from counterflow.app.draw_tab import DrawTab
from counterflow.app.edit_events import EditEvents
from counterflow.app.mask_events import MaskEvents
from counterflow.app.studio import SHOWN, Studio
from counterflow.methods import registry
from counterflow.methods.support import advice

WAITING = 16
"""Most edits that wait; who comes then is told that the queue is full."""
SWEEP, AGE = 60, 900
"""Seconds between two sweeps of uploads, and the age from which they are deleted: what a tab uses
is in its session by then."""

TOYBOX = (
    "The <b>toybox</b> is a small real model of the Stable Diffusion 3 architecture that comes "
    "with Counterflow: it knows one cartoon world, and edits its pictures in seconds on any "
    "computer. Choose an example, change a word in the second sentence and press <b>Edit</b>: "
    "what both sentences say stays, and what only the second says comes. For photographs start "
    "the page with a large model, <code>counterflow app --model NAME</code>, where NAME is a "
    "folder that you have or a repository as {models}."
)
OTHER = (
    "This page edits with <b>{title}</b>. Drop a picture, say in a sentence what it shows and in a "
    "second one what it should become, and press <b>Edit</b>: what both sentences say stays, what "
    "only the second says comes. {distilled}"
)


def build(studio: Studio) -> Any:
    """The page on a model, as a `gradio.Blocks` that is not launched yet."""
    with gr.Blocks(title="Counterflow", analytics_enabled=False, delete_cache=(SWEEP, AGE)) as page:
        gr.HTML(header(studio), elem_classes="cf-head")
        with gr.Tabs(selected="edit") as tabs:
            with gr.Tab("Edit", id="edit"), gr.Row():
                with gr.Column(scale=5, min_width=320):
                    asking = edit_tab.asking(studio)
                with gr.Column(scale=6, min_width=320, elem_classes="cf-result"):
                    showing = edit_tab.showing(asking.desk)
            with gr.Tab("Compare methods", id="compare"):
                comparing = CompareTab(studio, asking)
            with gr.Tab("Draw a picture", id="draw"):
                drawing = DrawTab(studio, asking)
        events = EditEvents(studio, asking, showing)
        events.wire()
        MaskEvents(studio, asking).wire()
        comparing.wire(showing.history)
        drawing.wire(tabs)
        form = [asking.preset, asking.method, asking.about, *asking.fields.values()]
        page.load(
            lambda: events.form(registry.method(registry.DEFAULT)),
            None,
            form,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

        def closed(request: gr.Request) -> None:
            studio.sessions.close(request.session_hash)

        page.unload(closed)
    page.temp_file_sets = [page.upload_file_set]  # files of sessions are not swept by their age
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    return page


def header(studio: Studio) -> str:
    """What this page is, in three sentences."""
    names = [f"<code>{escape(name)}</code>" for name in SHOWN]
    if studio.bundled:
        said = TOYBOX.format(models=", ".join(names[:-1]) + " or " + names[-1])
    else:
        distilled = escape(advice(studio.editor.backbone.distilled))
        distilled = f"Know that {distilled}." if distilled else ""
        said = OTHER.format(title=escape(studio.title), distilled=distilled)
    return f"<h1>Counterflow</h1><p>{said}</p>"


def style() -> str:
    """The page's own style sheet."""
    return (files("counterflow.app") / "page.css").read_text("utf-8")


def theme() -> Any:
    """Colours with enough contrast, and letters; no font is fetched from anywhere."""
    return gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        spacing_size="md",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="#f4f6f8",
        body_text_color_subdued="#475569",
        body_text_color_subdued_dark="#b6c2d1",
        block_info_text_color="#475569",
        block_info_text_color_dark="#b6c2d1",
        block_title_text_weight="600",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#0f766e",
        button_primary_text_color="#ffffff",
        color_accent="#0f766e",
        checkbox_background_color_selected="#0f766e",
        checkbox_border_color_selected="#0f766e",
        checkbox_label_background_fill_selected="#ccfbf1",
        checkbox_label_background_fill_selected_dark="#134e4a",
        checkbox_label_text_color_selected="#134e4a",
        checkbox_label_text_color_selected_dark="#ccfbf1",
        slider_color="#0f766e",
        input_placeholder_color="#5b6b80",
    )
