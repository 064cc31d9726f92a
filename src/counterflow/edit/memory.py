"""Where memory runs out: what can be let go is let go, and the operation is tried once more."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch

from counterflow.edit.inversion import Inversion
from counterflow.errors import OutOfMemory

F = TypeVar("F", bound=Callable[..., Any])

SAID = ("out of memory", "can't allocate memory")
"""What a RuntimeError says that is none of torch.OutOfMemoryError but means it."""


def frugal(operation: F) -> F:
    """An operation of an editor that is made again, row by row, where memory does not suffice.

    Before that the features that an inversion keeps are let go; what it recorded stays. Warns
    (UserWarning) of it, as it takes longer. Raises OutOfMemory where that is still too much, and
    then holds no more memory than before.
    """

    @wraps(operation)
    def tried(editor: Any, *args: Any, **options: Any) -> Any:
        try:
            return operation(editor, *args, **options)
        except (RuntimeError, MemoryError) as error:
            reason = _reason(error)
        # Not in the handler: there the failed attempt's tensors would still be held.
        _let_go(args)
        warnings.warn(f"{reason}: made again, one sample at a time", stacklevel=2)
        rows, editor.rows = editor.rows, 1
        try:
            return operation(editor, *args, **options)
        except (RuntimeError, MemoryError) as error:
            reason = _reason(error)
        finally:
            editor.rows = rows
        _let_go(args)
        raise OutOfMemory(
            f"out of memory even one sample at a time ({reason}): try --offload group, "
            "--free-text, --tiles, --dtype bfloat16 or a smaller picture"
        )

    return cast(F, tried)


def _reason(error: Exception) -> str:
    """What the lack of memory says of itself; any other error goes on its way."""
    said = (str(error).strip().splitlines() or ["out of memory"])[0]
    memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if not memory and not any(each in said for each in SAID):
        raise error
    return said.partition(". ")[0]


def _let_go(args: tuple[object, ...]) -> None:
    for each in args:
        if isinstance(each, Inversion):
            each.forget()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
