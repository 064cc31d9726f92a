"""The errors that Counterflow raises: each has one line that says what is wrong and what to do.

The command line prints this line without a traceback, and exits with the error's `exit_code`.
"""


class CounterflowError(Exception):
    """The base class of all errors that Counterflow raises on purpose."""

    exit_code: int = 1

    def __init__(self, message: str) -> None:
        """Store `message` as one line; the name of a file in it may hold line breaks."""
        super().__init__(" ".join(message.splitlines()))


class InputError(CounterflowError):
    """An unusable picture, mask, prompt or option, or a place that cannot be written."""

    exit_code = 2


class ModelError(CounterflowError):
    """A model that is absent, is incomplete, is not a pipeline or has no adapter."""

    exit_code = 3


class NumericsError(CounterflowError):
    """A computation gave NaN or infinite values, for example in latents."""

    exit_code = 4
