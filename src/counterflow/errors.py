"""The errors that Counterflow raises: each has one line that says what is wrong and what to do.

The command line prints this line without a traceback, and exits with the error's `exit_code`.
"""

import re

_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """A text as one line that any terminal shows as it is.

    Names of files and prompts may hold line breaks, escapes that colour or retitle a terminal,
    marks that turn its order round, and halves of letters: the latter three are written out.
    """
    return _CONTROL.sub(
        lambda found: found[0].encode("unicode_escape").decode(), " ".join(text.splitlines())
    )


class CounterflowError(Exception):
    """The base class of all errors that Counterflow raises on purpose."""

    exit_code: int = 1

    def __init__(self, message: str) -> None:
        """Store `message` as one plain line."""
        super().__init__(plain(message))


class InputError(CounterflowError):
    """An unusable picture, mask, prompt or option, or a place that cannot be written."""

    exit_code = 2


class ModelError(CounterflowError):
    """A model that is absent, is incomplete, is not a pipeline or has no adapter."""

    exit_code = 3


class OutOfMemory(ModelError):
    """The model does not fit the memory with this picture, not even one sample at a time."""


class NumericsError(CounterflowError):
    """A computation gave NaN or infinite values, for example in latents."""

    exit_code = 4


def why(error: Exception) -> str:
    """What the system says of a failure, without the path, which our message names already."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def one_line(error: BaseException) -> str:
    """An error's first line, with its type where it is none of ours."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, CounterflowError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")
