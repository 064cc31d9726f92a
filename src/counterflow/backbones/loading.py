"""How a model is opened, declared once: which weights, where they run, and what saves memory.

Nothing here imports torch: all of it is checked before a model loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from counterflow.backbones.registry import BUNDLED, check_model
from counterflow.errors import InputError
from counterflow.prompts import is_text

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps", "xpu")
OFFLOADS = ("model", "sequential", "group")
QUANTISED = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
"""Number formats that weights are quantised to as they are read, and the package of each."""

IMPORTED = ("torchao", "torch.utils._pytree", "bitsandbytes")
"""Loggers of what diffusers imports where it is installed, used or not."""


@dataclass(frozen=True)
class Loading:
    """A model and how it is opened."""

    model: str = "toybox"
    """The name of a bundled model, a pipeline folder, or a hub repository: `owner/name`, or
    `owner/name@revision` for a pinned one."""
    device: str | None = None
    """By default a GPU if there is one."""
    dtype: str | None = None
    """By default float32 on a CPU and bfloat16 elsewhere."""
    compile: bool = False
    """Compile the blocks, as they are first used."""
    weights: str | None = None
    """A .safetensors or .gguf file of the transformer, in place of the pipeline's own."""
    lora: tuple[str, ...] = ()
    """LoRA files, each as `FILE` or `FILE=WEIGHT`; they are added to the weights."""
    offload: str | None = None
    """Keep on the GPU only what runs: one part of the pipeline (`model`), a few layers (`group`)
    or one layer (`sequential`), from fast to small."""
    cast: bool = False
    """Store the transformer's weights in 8 bits (float8) and compute in `dtype`."""
    quantize: str | None = None
    """Quantise the transformer's weights as they are read: to 8 bits (`int8`, `fp8`) by torchao, or
    on a GPU to 4 (`nf4`) by bitsandbytes. Text encoders stay as they are."""
    free_text: bool = False
    """Drop the text encoders from memory, the GPU's and the host's, while the transformer runs;
    they are read again for a prompt that is new then."""
    tiles: bool = False
    """Encode and decode large pictures in tiles."""
    negative: str = ""
    """What guidance leads away from, in place of the empty prompt."""

    def check(self) -> None:
        """Raises InputError for a wrong value, and ModelError for a model that cannot be opened."""
        if self.dtype is not None and self.dtype not in DTYPES:
            raise InputError(f"dtype is one of {', '.join(DTYPES)}, not {self.dtype!r}")
        if self.device is not None and self.device.partition(":")[0] not in DEVICES:
            raise InputError(f"device is cpu, cuda, cuda:N, mps or xpu, not {self.device!r}")
        if self.offload is not None and self.offload not in OFFLOADS:
            raise InputError(f"offload is one of {', '.join(OFFLOADS)}, not {self.offload!r}")
        if not is_text(self.negative):
            raise InputError(f"negative is no text that a model can read: {self.negative!r:.60}")
        if self.compile and (self.offload or self.cast):
            raise InputError("a compiled model is neither offloaded nor cast: choose one")
        if self.offload and self.free_text:
            raise InputError("--offload keeps the text encoders off the GPU as it is: choose one")
        own = self.weights_file()
        self._check_quantize(own)
        if own is not None:
            check_file("weights", own, ".safetensors", ".gguf")
        for path, _ in self.loras():
            check_file("LoRA", path, ".safetensors")
        check_model(self.model)

    def _check_quantize(self, own: Path | None) -> None:
        """Raise InputError for a number format that is none, or that cannot be had."""
        if (small := self.quantize) is None:
            return
        if small not in QUANTISED:
            raise InputError(f"quantize is one of {', '.join(QUANTISED)}, not {small!r}")
        if self.cast:
            raise InputError("--cast and --quantize both store fewer bits: choose one")
        if own is not None and own.suffix.lower() == ".gguf":
            raise InputError(f"{own.name} is quantised already: leave --quantize out")
        if small == "nf4" and (self.lora or own or self.compile):
            raise InputError(
                "nf4 weights are read from the model's own folder as they are: leave --lora, "
                "--weights and --compile out, or choose int8 or fp8"
            )

    def weights_file(self) -> Path | None:
        """The file of `weights`."""
        return None if self.weights is None else Path(self.weights).expanduser()

    def loras(self) -> list[tuple[Path, float]]:
        """The LoRA files with their weights, 1 where none is given."""
        return [_lora(text) for text in self.lora]

    def record(self) -> dict[str, Any]:
        """What decides a picture, JSON-ready; folders and files by their full paths."""
        data = asdict(self)
        data["model"] = full_name(self.model)
        own = self.weights_file()
        data["weights"] = None if own is None else str(own.resolve())
        data["lora"] = [f"{path.resolve()}={weight:g}" for path, weight in self.loras()]
        kept = ("model", "device", "dtype", "weights", "lora", "cast", "quantize", "negative")
        return {name: data[name] for name in kept if data[name] or name in kept[:3]}

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Loading:
        """What `record` wrote, checked, among other facts."""
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in data.items() if name in known}
        return cls(**given | {"lora": tuple(given.get("lora", ()))})


def choice(model: Any, given: Sequence[Any], options: Mapping[str, Any]) -> Loading | None:
    """How a model is opened; None for a pipeline in memory.

    `model` is a name, with `given` and `options` as the further fields of `Loading`; a `Loading`;
    or a pipeline. Raises InputError for options that would be ignored: all of those of a `Loading`,
    and of a pipeline all but `negative`.
    """
    if isinstance(model, str):
        return Loading(model, *given, **options)
    ready = isinstance(model, Loading)
    ignored = sorted(set(options) - (set() if ready else {"negative"}))
    if given or ignored:
        what = "a Loading says all of it" if ready else "a pipeline in memory is taken as it is"
        named = ", ".join([*map(repr, given), *ignored])
        raise InputError(f"{what}: leave out {named}, or set it there")
    return model if isinstance(model, Loading) else None


def check_file(what: str, path: Path, *suffixes: str) -> None:
    """Raise InputError for a file of weights that is not there, or not of a form without code."""
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{path} is no file of {what} that is read: give one in {' or '.join(suffixes)}; "
            "others (.ckpt, .pt, .bin) can hold code"
        )
    try:
        there = path.is_file()
    except OSError as error:  # no leave to look there
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    if not there:
        raise InputError(f"{path}, a file of {what}, is not there")


def _lora(text: str) -> tuple[Path, float]:
    name, equals, weight = text.rpartition("=")
    if not equals:
        return Path(text).expanduser(), 1.0
    try:
        return Path(name).expanduser(), float(weight)
    except ValueError:
        raise InputError(f"--lora is written as FILE or FILE=0.8, not {text!r:.80}") from None


def full_name(model: str) -> str:
    """A folder's full path; the name of a bundled model or a repository as it is."""
    path = Path(model).expanduser()
    return str(path.resolve()) if model not in BUNDLED and path.is_dir() else model
