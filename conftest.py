"""What all rooms of tests need."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background lets them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
