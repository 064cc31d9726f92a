"""`counterflow app` as a visitor meets it: a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAID = re.compile(r"The page is at (http://\S+)")
PATIENCE = 600
"""Seconds that the page has to come up, on a machine that has much else to do."""


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Serve the page; yields its address. All its files are in `folder`, which is TMPDIR for it."""
    command = [sys.executable, "-m", "counterflow", "app", "--no-browser", *options]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    for name in ("GRADIO_TEMP_DIR", "COUNTERFLOW_PASSWORD"):
        environment.pop(name, None)
    # What would open the page to others, were it heeded.
    environment |= {"GRADIO_SHARE": "True", "GRADIO_ALLOWED_PATHS": "/etc"}
    errors = (folder / "errors.txt").open("w+")
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        said = SAID.search(process.stdout.readline())
        assert said, f"the page did not come up: {(folder / 'errors.txt').read_text()}"
        timer.cancel()
        yield said[1]
        assert process.poll() is None, "the page went down"
    finally:
        timer.cancel()
        process.terminate()
        process.wait(30)
        errors.close()
