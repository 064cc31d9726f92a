"""The named errors of Counterflow: one line that says what went wrong and what to do.

The command line prints the message, without a traceback, and leaves with `exit_code`.
"""


class CounterflowError(Exception):
    """Any error that Counterflow raises on purpose; catch this one to catch them all."""

    exit_code: int = 1

    def __init__(self, message: str) -> None:
        """Keep `message` on one line: a file's name or a decoder's words may hold line breaks."""
        super().__init__(" ".join(message.splitlines()))


class InputError(CounterflowError):
    """A bad picture, mask, prompt or option, or a place that cannot be written."""

    exit_code = 2


class ModelError(CounterflowError):
    """A model folder that is missing, is not a pipeline or is of an unsupported family."""

    exit_code = 3


class NumericsError(CounterflowError):
    """Numbers that stopped being numbers, such as NaN latents."""

    exit_code = 4
