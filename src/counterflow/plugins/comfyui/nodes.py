"""The nodes: load a model, edit, invert once and edit several times, report.

Nodes keep nothing: what one makes for the next goes along the wires, and ComfyUI keeps it as long
as its inputs stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from counterflow.controls.features import Features
from counterflow.edit.checks import check_mask
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.methods.base import Method
from counterflow.plugins.comfyui import tensors
from counterflow.plugins.comfyui.load import LoadModel
from counterflow.plugins.comfyui.methods import method_input, method_of
from counterflow.plugins.comfyui.report import Edited, Inverted, report
from counterflow.plugins.comfyui.schema import (
    CATEGORY,
    EDITS,
    INVERSION,
    MODEL,
    ComfyExtension,
    check_sentences,
    edit_outputs,
    io,
    lines,
    mask_inputs,
    seed_input,
    sentence_input,
    ui,
)


class EditPicture(io.ComfyNode):  # type: ignore[misc]
    """Edits each picture of a batch."""

    @classmethod
    def define_schema(cls) -> Any:
        """Everything of an edit in one node."""
        return io.Schema(
            node_id="CounterflowEdit",
            display_name="Counterflow: edit",
            category=CATEGORY,
            description="Edits a picture from one sentence to another.",
            inputs=[
                MODEL.Input("model"),
                io.Image.Input("image"),
                sentence_input("source", "A sentence that describes the picture."),
                sentence_input("target", "A sentence that describes the edited picture."),
                method_input(),
                seed_input(),
                *mask_inputs(),
            ],
            outputs=edit_outputs(),
        )

    @classmethod
    def execute(
        cls,
        model: Editor,
        image: Tensor,
        source: str,
        target: str,
        seed: int,
        method: Mapping[str, Any] | None = None,
        mask: Tensor | None = None,
        exact_background: bool = False,
    ) -> Any:
        """The pictures, of the same size, and what is known of each."""
        check_sentences(source=source, target=target)
        how, pictures = method_of(method), tensors.pictures(image)
        how.check_prompts(source, target)
        _check_mask(how, mask is not None, exact_background)
        masks = tensors.masks(mask, pictures)
        made: list[Edited] = []
        for picture, inside in zip(pictures, masks, strict=True):
            inversion = model.invert(picture, source, how, tensors.progress(), seed)
            made += _edits(Inverted(model, inversion, seed), [target], inside, exact_background)
            inversion.features = Features(budget=0)  # no other target will ask for them
        return _result(made)


class InvertPicture(io.ComfyNode):  # type: ignore[misc]
    """Makes one picture ready for several edits."""

    @classmethod
    def define_schema(cls) -> Any:
        """What an edit needs, but for its target."""
        return io.Schema(
            node_id="CounterflowInvert",
            display_name="Counterflow: invert",
            category=CATEGORY,
            description="Makes a picture ready for several edits: its inversion is made once.",
            inputs=[
                MODEL.Input("model"),
                io.Image.Input("image"),
                sentence_input("source", "A sentence that describes the picture."),
                method_input(),
                seed_input(),
            ],
            outputs=[INVERSION.Output("inversion", display_name="inversion")],
        )

    @classmethod
    def execute(
        cls,
        model: Editor,
        image: Tensor,
        source: str,
        seed: int,
        method: Mapping[str, Any] | None = None,
    ) -> Any:
        """The inversion with its model."""
        check_sentences(source=source)
        if len(image) > 1:
            raise InputError(f"image holds {len(image)} pictures; one is inverted at a time")
        (picture,), how = tensors.pictures(image), method_of(method)
        inversion = model.invert(picture, source, how, tensors.progress(), seed)
        return io.NodeOutput(Inverted(model, inversion, seed))


class EditSeveral(io.ComfyNode):  # type: ignore[misc]
    """Edits an inverted picture to several targets."""

    @classmethod
    def define_schema(cls) -> Any:
        """The method and its settings are the inversion's."""
        return io.Schema(
            node_id="CounterflowEditSeveral",
            display_name="Counterflow: edit several targets",
            category=CATEGORY,
            description="Edits an inverted picture to every target, in one batch.",
            inputs=[
                INVERSION.Input("inversion"),
                sentence_input(
                    "targets", "Sentences that describe the edited pictures, one a line."
                ),
                *mask_inputs(),
            ],
            outputs=[
                io.Image.Output("images", display_name="images"),
                EDITS.Output("edits", display_name="edits"),
            ],
        )

    @classmethod
    def execute(
        cls,
        inversion: Inverted,
        targets: str,
        mask: Tensor | None = None,
        exact_background: bool = False,
    ) -> Any:
        """A picture for each target, and what is known of each."""
        check_sentences(targets=targets)
        known = inversion.inversion
        (inside,) = tensors.masks(mask, [known.picture])
        _check_mask(known.method, inside is not None, exact_background)
        return _result(_edits(inversion, lines(targets), inside, exact_background))


class Report(io.ComfyNode):  # type: ignore[misc]
    """Tells what edits cost and how far they are to be trusted."""

    @classmethod
    def define_schema(cls) -> Any:
        """It shows its text, and gives it on."""
        return io.Schema(
            node_id="CounterflowReport",
            display_name="Counterflow: report",
            category=CATEGORY,
            description="What edits cost, which words changed, and what to expect of them.",
            is_output_node=True,
            inputs=[
                EDITS.Input("edits"),
                io.Boolean.Input(
                    "check",
                    default=True,
                    tooltip="Estimate how far the edits are to be trusted, for a few forwards, "
                    "where the model has been calibrated.",
                ),
            ],
            outputs=[io.String.Output("text", display_name="text")],
        )

    @classmethod
    def execute(cls, edits: Sequence[Edited], check: bool) -> Any:
        """The text."""
        text = report(edits, check)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


NODES = [LoadModel, EditPicture, InvertPicture, EditSeveral, Report]


class Extension(ComfyExtension):  # type: ignore[misc]
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[Any]]:
        """All of them."""
        return list(NODES)


async def comfy_entrypoint() -> Extension:
    """ComfyUI's entry point."""
    return Extension()


def _check_mask(how: Method, given: bool, exact_background: bool) -> None:
    """Refuse what needs a mask where there is none."""
    check_mask(how, given)
    if exact_background and not given:
        raise InputError("exact_background needs a mask: wire one, or switch it off")


def _edits(
    source: Inverted, targets: Sequence[str], mask: tensors.Mask | None, exact_background: bool
) -> list[Edited]:
    """The edits of an inverted picture to some targets, in one batch."""
    edits = source.editor.edit_batch(
        source.inversion,
        targets,
        None,
        mask,
        exact_background,
        seed=source.seed,
        progress=tensors.progress(),
    )
    return [Edited(source, edit) for edit in edits]


def _result(edits: list[Edited]) -> Any:
    """The pictures, and what is known of them for a report."""
    return io.NodeOutput(tensors.batch([each.edit.image for each in edits]), edits)
