"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.backbones.loading import DEVICES, DTYPES, OFFLOADS, QUANTISED, Loading
from counterflow.cli import completing
from counterflow.errors import InputError

ImageArg = Annotated[
    Path,
    typer.Argument(help="The picture: PNG, JPEG, WebP, BMP, TIFF or GIF; - for standard input."),
]
Source = Annotated[str, typer.Option(help="A sentence that describes the picture.")]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="The picture's file, .png, .jpg or .webp; - for standard output, as PNG.",
    ),
]
Quality = Annotated[int, typer.Option(help="Of a JPEG or WebP, from 1 to 100.")]
Steps = Annotated[int | None, typer.Option(help="Steps of the grid, N; as --set steps=N.")]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Which method; `counterflow methods` lists them.",
        autocompletion=completing.methods,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of the method, as iterations=1; may be repeated. "
        "`counterflow methods NAME` lists them.",
        autocompletion=completing.settings,
    ),
]
SetSome = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of every method, as steps=10, or of one, as euler:steps=10; "
        "may be repeated.",
        autocompletion=completing.settings,
    ),
]
Tuned = Annotated[
    Path | None,
    typer.Option(help="Settings that `tune` found: the file; its methods if no --method."),
]
Budget = Annotated[int | None, typer.Option(help="With --tuned, most forwards of the settings.")]
MaskOption = Annotated[
    str | None,
    typer.Option("--mask", help="White where the edit may change the picture; or auto."),
]
MaskGrow = Annotated[
    int, typer.Option(metavar="PIXELS", help="Grow the mask by this distance first.")
]
MaskFeather = Annotated[
    int,
    typer.Option(
        metavar="PIXELS",
        help="Then mix edit and picture around it, less and less over this distance.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:N, mps; default the best there is.",
        autocompletion=completing.words(*DEVICES),
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Check = Annotated[
    bool, typer.Option(help="Say how far the result is to be trusted, for a few forwards.")
]
Seed = Annotated[int, typer.Option(help="Seed of every random draw; many methods make none.")]


def settings(given: list[str] | None, **shared: float | None) -> dict[str, str]:
    """The settings that `--set` and the shared options give a method, as text."""
    return {name: str(n) for name, n in shared.items() if n is not None} | pairs(given)


def pairs(given: list[str] | None) -> dict[str, str]:
    """`steps=10` as a setting and the text of its value."""
    texts = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError(f"--set is written as steps=10, not {text!r:.80}")
        texts[name.strip().replace("-", "_")] = value
    return texts


LOADING: dict[str, Any] = {
    "model": Annotated[
        str,
        typer.Option(
            help="toybox or toybox-flux (bundled), a pipeline folder, or a repository, owner/name "
            "or owner/name@revision.",
            autocompletion=completing.models,
        ),
    ],
    "device": Device,
    "dtype": Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16.", autocompletion=completing.words(*DTYPES)
        ),
    ],
    "compile": Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the model's blocks first: minutes once, then faster on a GPU.",
        ),
    ],
    "weights": Annotated[
        str | None,
        typer.Option(help="The transformer's weights from one file, .safetensors or .gguf."),
    ],
    "lora": Annotated[
        list[str] | None, typer.Option(help="A LoRA, FILE or FILE=0.8; may be repeated.")
    ],
    "offload": Annotated[
        str | None,
        typer.Option(
            help="Keep on the GPU what runs: model, group or sequential (least memory).",
            autocompletion=completing.words(*OFFLOADS),
        ),
    ],
    "cast": Annotated[
        bool, typer.Option("--cast", help="Store the transformer's weights in 8 bits.")
    ],
    "quantize": Annotated[
        str | None,
        typer.Option(
            help="Quantise the transformer's weights: int8, fp8, or nf4 (4 bits, on a GPU).",
            autocompletion=completing.words(*QUANTISED),
        ),
    ],
    "free_text": Annotated[
        bool,
        typer.Option(
            "--free-text",
            help="Drop the text encoders from memory once the prompts are embedded.",
        ),
    ],
    "tiles": Annotated[
        bool, typer.Option("--tiles", help="Encode and decode large pictures in tiles.")
    ],
    "negative": Annotated[
        str | None, typer.Option(help="What guidance leads away from; default the empty prompt.")
    ],
}
"""The options that say which model and how, by the fields of `Loading`."""
TOYBOX = Loading()


def opens_a_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `LOADING`, in place of its parameter `loading`.

    Where that is None by default no model is opened unless one is named.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    usual = next(each.default for each in own if each.name == "loading") or Loading(model="")
    more = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if (value := getattr(usual, each.name)) in ((), "") else value,
            annotation=LOADING[each.name],
        )
        for each in fields(Loading)
    ]

    def with_loading(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in LOADING}
        chosen["lora"], chosen["negative"] = tuple(chosen["lora"] or ()), chosen["negative"] or ""
        command(**given, loading=Loading(**chosen) if chosen["model"] else None)

    kept = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    every = [each for each in kept if each.name != "loading"] + more
    with_loading.__name__, with_loading.__doc__ = command.__name__, command.__doc__
    with_loading.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_loading.__annotations__ = {each.name: each.annotation for each in every}
    return with_loading
