"""The tab in which a picture is edited: what is on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from counterflow.app import forms, markup, mask_panel, presets, sources
from counterflow.app.components import Picture
from counterflow.app.desk import Desk
from counterflow.app.examples import examples
from counterflow.app.mask_panel import MaskPanel
from counterflow.app.studio import Studio
from counterflow.methods import registry


@dataclass
class Asking:
    """The components that say what is to be done."""

    picture: Any
    note: Any
    examples: Any
    source: Any
    targets: Any
    words: Any
    preset: Any
    method: Any
    about: Any
    fields: dict[str, Any]
    seed: Any
    mask: MaskPanel
    desk: Desk

    @property
    def inputs(self) -> list[Any]:
        """What an edit is made of, in the order of `EditEvents.asked`."""
        first = [self.picture, self.source, self.targets, self.method, self.seed]
        return [*first, *self.mask.inputs, *self.fields.values()]


@dataclass
class Showing:
    """The components that show what has come of it."""

    slider: Any
    difference: Any
    changed: Any
    way: Any
    show_way: Any
    report: Any
    download: Any
    mask: Any
    reuse: Any
    history: Any

    @property
    def outputs(self) -> list[Any]:
        """All that a result changes."""
        shown = [self.slider, self.difference, self.changed, self.way, self.report]
        return [*shown, self.download, self.mask, self.reuse, self.history]


def asking(studio: Studio) -> Asking:
    """Draw the picture, the sentences, the settings in sight and the buttons."""
    picture = Picture(
        label="Picture",
        show_label=False,
        sources=["upload", "clipboard"],
        type="filepath",
        format="png",
        height=240,
        buttons=["fullscreen"],
        elem_id="cf-picture",
        placeholder="Drop a picture here, paste one, or click to choose",
    )
    gallery = strip(
        "Examples", [(each.picture, each.source) for each in examples()], studio.bundled
    )
    note = gr.HTML(elem_id="cf-note")
    source = gr.Textbox(
        label="What the picture shows",
        placeholder="a happy red cat on the grass",
        lines=2,
        max_length=sources.MOST_LETTERS,
        elem_id="cf-source",
    )
    targets = gr.Textbox(
        label="What it should become (one sentence, or several, one a line)",
        placeholder="a happy blue cat on the grass",
        lines=2,
        max_length=sources.MOST_TARGETS * sources.MOST_LETTERS,
        elem_id="cf-targets",
    )
    words = gr.HTML(markup.words("", [], None), elem_id="cf-words")
    desk = Desk(studio, "Edit", "edit")
    preset = gr.Radio(
        presets.choices(studio.bundled),
        value=presets.of(registry.method(registry.DEFAULT), studio.bundled),
        label="How",
        elem_id="cf-preset",
    )
    kinds = forms.fields([name for _, name in presets.methods()])
    with gr.Row(elem_classes="cf-numbers"):
        fields = {name: forms.widget(name, kinds[name]) for name in forms.FIRST}
        seed = gr.Number(
            0,
            label="seed",
            info="Of random draws.",
            precision=0,
            minimum=0,
            min_width=80,
            elem_id="cf-seed",
        )
    with gr.Accordion("Mask", open=False, elem_id="cf-mask") as fold:
        mask = mask_panel.build(fold)
    with gr.Accordion("Method and all its settings", open=False, elem_id="cf-more"):
        method = gr.Dropdown(
            presets.methods(), value=registry.DEFAULT, label="Method", elem_id="cf-method"
        )
        about = gr.HTML()
        with gr.Row():
            fields |= {n: forms.widget(n, kinds[n]) for n in kinds if n not in fields}
    return Asking(
        picture,
        note,
        gallery,
        source,
        targets,
        words,
        preset,
        method,
        about,
        fields,
        seed,
        mask,
        desk,
    )


def strip(label: str, pictures: list[Any], visible: bool, columns: int = 5) -> Any:
    """Small pictures to choose one from, each in a cell of its own."""
    return gr.Gallery(
        pictures,
        label=label,
        show_label=False,
        columns=columns,
        height="auto",
        object_fit="contain",
        format="png",
        fit_columns=False,
        allow_preview=False,
        interactive=False,
        visible=visible,
        buttons=[],
        elem_classes="cf-strip",
        elem_id=f"cf-{label.split()[0].lower()}",
    )


def showing(desk: Desk) -> Showing:
    """Draw the progress and the result."""
    desk.line()
    with gr.Tabs():
        with gr.Tab("Before and after"):
            slider = gr.ImageSlider(
                show_label=False,
                label="Before and after",
                type="pil",
                format="png",
                interactive=False,
                max_height=440,
                buttons=["fullscreen"],
                elem_id="cf-slider",
            )
        with gr.Tab("Difference", render_children=True):
            difference = gr.Image(
                show_label=False,
                label="Difference",
                format="png",
                height=400,
                buttons=["fullscreen"],
                elem_id="cf-difference",
            )
            changed = gr.HTML()
        with gr.Tab("The way there", render_children=True):
            way = gr.Image(
                show_label=False,
                label="The way there",
                height=400,
                buttons=["download"],
                elem_id="cf-way",
            )
            show_way = gr.Button("Show how it came about", size="sm", elem_id="cf-show-way")
    report = gr.HTML(elem_id="cf-report")
    with gr.Row():
        download = gr.DownloadButton(
            "Download the PNG, settings inside", visible=False, size="sm", elem_id="cf-download"
        )
        mask = gr.DownloadButton(
            "Download its mask", visible=False, size="sm", elem_id="cf-mask-file"
        )
        reuse = gr.Button("Use as source", visible=False, size="sm", elem_id="cf-reuse")
    history = strip("History of this session", [], False, 6)
    return Showing(
        slider, difference, changed, way, show_way, report, download, mask, reuse, history
    )
