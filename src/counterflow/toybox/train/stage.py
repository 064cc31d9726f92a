"""What the stages of training share: a loop that saves, resumes and logs, and optimizers."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state a checkpoint can save and restore."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


class Log:
    """Logs the figures of a run: a line for `write`, and a line of JSON in `folder/log.jsonl`."""

    def __init__(self, folder: Path, write: Callable[[str], None] = print) -> None:
        self.path = folder / "log.jsonl"
        self.write = write

    def __call__(self, stage: str, **figures: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"stage": stage, **figures}) + "\n")
        line = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()
        )
        self.write(f"[{stage}] {line}")


def quick_in_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16: CPUs without instructions for it are slower in it."""
    if device.type != "cpu":
        return True
    mkldnn = torch.backends.mkldnn.is_available()
    return bool(mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 inside, where that is quick."""
    return torch.autocast(device.type, torch.bfloat16, enabled=quick_in_bfloat16(device))


def run(
    name: str,
    steps: int,
    step: Callable[[int], dict[str, float]],
    parts: dict[str, Stateful],
    folder: Path,
    log: Log,
    every: int = 250,
    deadline: float = math.inf,
) -> bool:
    """Call `step(i)` for each i in `range(steps)`; every `every` steps log means and save `parts`.

    A stopped run continues from its last checkpoint, so `step` must derive its random numbers from
    its index. Returns False if `time.monotonic()` passed `deadline` before the last step.
    """
    path = folder / f"{name}.pt"
    first = 0
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        first = saved["step"]
        for key, part in parts.items():
            part.load_state_dict(saved[key])
    start, sums = time.monotonic(), dict[str, float]()
    count = 0  # steps since the last line of the log
    for i in range(first, steps):
        for key, value in step(i).items():
            sums[key] = sums.get(key, 0.0) + value
        count += 1
        last = i + 1 == steps
        out_of_time = time.monotonic() > deadline
        if (i + 1) % every == 0 or last or out_of_time:
            rate = count / (time.monotonic() - start)
            left = (steps - i - 1) / rate / 60
            means = {key: value / count for key, value in sums.items()}
            log(name, step=i + 1, of=steps, **means, steps_per_second=rate, minutes_left=left)
            save(path, {"step": i + 1} | {key: part.state_dict() for key, part in parts.items()})
            start, sums, count = time.monotonic(), {}, 0
        if out_of_time and not last:
            return False
    return True


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint in one step: an interrupted write leaves the old one whole."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def cosine(step: int, steps: int, warmup: int = 200, floor: float = 0.02) -> float:
    """Learning-rate factor: a linear warm-up to 1, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set the learning rate of every parameter group to `factor` times its initial value."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * factor


class Muon:
    """Muon (Jordan 2024) for weights of two or more dimensions.

    A convolution's weight is flattened to a matrix with one row for each output channel.
    """

    def __init__(self, weights: Iterable[nn.Parameter], rate: float, decay: float = 0.0) -> None:
        self.weights = [(w, nn.Parameter(w.detach().flatten(1))) for w in weights]  # shared memory
        self.optimizer = torch.optim.Muon(
            [matrix for _, matrix in self.weights],
            lr=rate,
            weight_decay=decay,
            adjust_lr_fn="match_rms_adamw",
            ns_steps=4,
        )
        self.param_groups = self.optimizer.param_groups

    def zero_grad(self) -> None:
        for weight, _ in self.weights:
            weight.grad = None

    def step(self) -> None:
        for weight, matrix in self.weights:
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        self.optimizer.step()

    def state_dict(self) -> Any:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Any, /) -> None:
        self.optimizer.load_state_dict(state)
        self.param_groups = self.optimizer.param_groups


class Optimizer(Stateful, Protocol):
    """An optimizer as `descend`, `set_rate` and the checkpoints use it."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...
    def step(self) -> Any: ...


def descend(loss: Tensor, parameters: Iterable[nn.Parameter], *optimizers: Optimizer) -> float:
    """One step of the optimizers, with the gradient clipped to norm 1; returns its norm before."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return norm.item()


class Average:
    """Exponential moving average of a model's weights, in `shadow`; these are the ones shipped.

    Early steps use a decay under `decay`: (1 + step) / (10 + step).
    """

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.shadow[key].lerp_(value, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return self.shadow

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.shadow = {k: v.to(self.shadow[k].device) for k, v in state.items()}
