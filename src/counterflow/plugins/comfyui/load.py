"""The node that opens a model."""

from __future__ import annotations

from typing import Any

from counterflow.backbones.loading import DEVICES, DTYPES, OFFLOADS, Loading
from counterflow.backbones.registry import check_model
from counterflow.edit.editor import Editor
from counterflow.errors import CounterflowError
from counterflow.plugins.comfyui.schema import CATEGORY, MODEL, combo_input, io, lines


class LoadModel(io.ComfyNode):  # type: ignore[misc]
    """Opens a model as `Editor.load` does."""

    @classmethod
    def define_schema(cls) -> Any:
        """The fields of `Loading` that matter here."""
        return io.Schema(
            node_id="CounterflowLoadModel",
            display_name="Counterflow: load model",
            category=CATEGORY,
            description="Opens a diffusers pipeline for Counterflow; ComfyUI does not unload it.",
            inputs=[
                io.String.Input(
                    "model",
                    default="toybox",
                    tooltip="toybox (bundled, for trying), a diffusers pipeline folder, or a "
                    "repository: owner/name or owner/name@revision.",
                ),
                combo_input("device", "auto", DEVICES, "auto: a GPU if there is one."),
                combo_input("dtype", "auto", DTYPES, "auto: float32 on a CPU, bfloat16 elsewhere."),
                combo_input("offload", "none", OFFLOADS, "What stays off the GPU while it rests."),
                io.Boolean.Input("cast", default=False, tooltip="Weights stored in 8 bits."),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="The transformer's weights from one file, .safetensors or .gguf.",
                ),
                io.String.Input(
                    "loras",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="LoRAs, one a line: FILE or FILE=0.8.",
                ),
                io.String.Input(
                    "negative", default="", optional=True, tooltip="What guidance leads away from."
                ),
            ],
            outputs=[MODEL.Output("loaded", display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None) -> bool | str:
        """Whether there is such a model, before anything runs."""
        try:
            check_model("toybox" if model is None else model.strip())  # None: it comes by a wire
        except CounterflowError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        model: str,
        device: str,
        dtype: str,
        offload: str,
        cast: bool,
        weights: str = "",
        loras: str = "",
        negative: str = "",
    ) -> Any:
        """The editor goes along the wire."""
        loading = Loading(
            model.strip(),
            device=None if device == "auto" else device,
            dtype=None if dtype == "auto" else dtype,
            offload=None if offload == "none" else offload,
            cast=cast,
            weights=weights.strip() or None,
            lora=tuple(lines(loras)),
            negative=negative,
        )
        return io.NodeOutput(Editor.load(loading))
