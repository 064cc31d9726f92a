"""`counterflow app` as a visitor meets it: a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file

from counterflow import images
from counterflow.methods import registry

SAID = re.compile(r"The page is at (http://\S+)")
STEPS = 2
"""Of the edits that `values` asks for."""
PATIENCE = 600
"""Seconds that the page has to come up, on a machine that has much else to do."""


@dataclass(frozen=True)
class Served:
    """A page that is served."""

    url: str
    pid: int

    @property
    def resident(self) -> int:
        """Bytes of memory that the process has."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(folder: Path, *options: str, ends: signal.Signals = signal.SIGTERM) -> Iterator[Served]:
    """Serve the page, until it gets a signal. All its files are in `folder`, its TMPDIR."""
    command = [sys.executable, "-m", "counterflow", "app", "--no-browser", *options]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    for name in ("GRADIO_TEMP_DIR", "COUNTERFLOW_PASSWORD"):
        environment.pop(name, None)
    # What would open the page to others, were it heeded.
    environment |= {"GRADIO_SHARE": "True", "GRADIO_ALLOWED_PATHS": "/etc"}
    said_wrong = folder.with_name(f"{folder.name}-errors.txt")
    errors = said_wrong.open("w+")
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        said = SAID.search(process.stdout.readline())
        assert said, f"the page did not come up: {said_wrong.read_text()}"
        timer.cancel()
        yield Served(said[1], process.pid)
        assert process.poll() is None, "the page went down"
    finally:
        timer.cancel()
        process.send_signal(ends)
        process.wait(30)
        errors.close()


def values(
    client: Client, picture: Path, source: str, targets: str, steps: int = STEPS
) -> list[Any]:
    """The inputs of the endpoint of edits, for a cheap one."""
    config = client.config
    (edit,) = (each for each in config["dependencies"] if each["api_name"] == "edit")
    props = {each["id"]: each["props"] for each in config["components"]}
    method = registry.method("euler", steps=steps)
    given: list[Any] = []
    for each in (props[i] for i in edit["inputs"]):
        name = (each.get("elem_id") or "").removeprefix("set-")
        given.append(method.to_dict().get(name, each.get("value")))
    given[:4] = [handle_file(str(picture)), source, targets, "euler"]
    return given


def edited(url: str, picture: Path, source: str, target: str) -> tuple[bytes, dict[str, Any]]:
    """A visitor's result: the file's bytes and the record inside."""
    client = Client(url, verbose=False)
    job = client.submit(*values(client, picture, source, target), api_name="/edit")
    outputs = list(job)
    assert job.exception() is None, job.exception()
    files = [
        item["value"]
        for output in outputs
        for item in output
        if isinstance(item, dict) and str(item.get("value", "")).endswith(".png")
    ]
    assert files, outputs[-1]
    path = Path(files[-1])
    return path.read_bytes(), images.read_settings(path)
