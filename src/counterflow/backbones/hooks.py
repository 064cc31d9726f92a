"""Hooks at sites, for plain models and for compiled ones.

A hook that comes and goes makes `torch.compile` compile again, and one that it has traced does what
it did then. So in a compiled model the hooks stand before compilation, and are one operator that
the compiler does not look into: what it does, nothing or what an attached control wants, is looked
up when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, no_type_check

import torch
from torch import Tensor, nn

from counterflow.backbones.base import Backbone, Site
from counterflow.errors import ModelError

Act = Callable[[Site, Any], Any]
"""From a site and its module's output, the output that takes its place."""

NUMBER = "_site_number"
VARIANTS = 64
"""Most compiled variants of one kind of block: by its shape, rows and picture sizes."""
_acts: list[list[Callable[[Tensor], Tensor]]] = []
"""By the number of a compiled model's module, what is to be done to its output now."""


@contextmanager
def hooked(sites: Sequence[Site], act: Act) -> Iterator[None]:
    """Inside, every output at the sites is what `act` returns; no hook acts afterwards."""
    undo: list[Callable[[], Any]] = []
    try:
        for site in sites:
            here = partial(act, site)
            if is_compiled(site.module):
                acts = _acts[int(getattr(site.module, NUMBER))]
                acts.append(here)
                undo.append(partial(acts.remove, here))
            elif site.entering is not None:
                hook = _entering_hook(here, site.entering)
                undo.append(site.module.register_forward_pre_hook(hook).remove)
            else:
                undo.append(site.module.register_forward_hook(_forward_hook(here)).remove)
        yield
    finally:
        for end in undo:
            end()


@contextmanager
def changed(modules: Sequence[nn.Module], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, what modules put out is changed. Raises ModelError for those of a compiled model."""
    if any(map(is_compiled, modules)):
        raise ModelError("this family of models cannot be compiled: leave compile out")
    handles = [module.register_forward_hook(_forward_hook(change)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _forward_hook(here: Callable[[Any], Any]) -> Any:
    return lambda _module, _inputs, output: here(output)


def _entering_hook(here: Callable[[Any], Any], place: int) -> Any:
    return lambda _module, args: (*args[:place], here(args[place]), *args[place + 1 :])


def compile_blocks(backbone: Backbone, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the model's blocks, with hooks at their sites; blocks that are alike share the code.

    It is made at the first forward of one row and at the first of several, whatever the picture's
    size. Raises ModelError where `torch.compile` cannot run.
    """
    _check_compiler(backend, backbone.device)
    for site in {id(site.module): site for site in backbone.sites()}.values():
        # A tensor, as blocks with another number each would have to be compiled each.
        site.module.register_buffer(NUMBER, torch.tensor(len(_acts)), persistent=False)
        if site.entering is None:
            site.module.register_forward_hook(_standing)
        else:
            site.module.register_forward_pre_hook(_standing_before(site.entering))
        _acts.append([])
    for block in backbone.blocks():
        for module in block.module.modules():
            module._is_compiled = True  # type: ignore[assignment]
        forward = torch.compile(block.module.forward, backend=backend, dynamic=True)
        block.module.forward = forward
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, VARIANTS)


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is part of a compiled block: what is changed in it now is not seen."""
    return getattr(module, "_is_compiled", False)


@no_type_check  # a checker's wrapper would be compiled, too
def _standing(module: Any, _inputs: Any, output: Any) -> None:
    at_site(output[0] if isinstance(output, tuple) else output, getattr(module, NUMBER))


def _standing_before(place: int) -> Any:
    return lambda module, args: at_site(args[place], getattr(module, NUMBER))


@torch.library.custom_op(
    "counterflow::at_site",
    mutates_args={"features"},
    schema="(Tensor(a!) features, Tensor number) -> ()",
)
def at_site(features: Tensor, number: Tensor) -> None:
    """Change a module's output in place, as is wanted now."""
    for act in _acts[int(number)]:
        new = act(features)
        if new is not features:
            features.copy_(new)


def _check_compiler(backend: str | Callable[..., Any], device: torch.device) -> None:
    """Compile something small: there may be no compiler for C++, or none for the GPU."""
    try:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(2, device=device))
    except Exception as error:
        lines = (line.strip() for line in str(error).splitlines())
        reason = next((line for line in lines if line and not line.endswith("raised:")), "")
        raise ModelError(
            "the model cannot be compiled here, for which a CPU needs a C++ compiler: "
            f"{reason or repr(error)}"
        ) from error
