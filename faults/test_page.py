"""The page under many edits: its memory and its files do not grow."""

from __future__ import annotations

import os
from pathlib import Path

from gradio_client import Client

from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from serving import serving, values

EDITS = int(os.environ.get("FAULT_PAGE_EDITS", "300"))
WARM = 60
"""Edits after which caches are full."""


def test_memory_and_files_do_not_grow(tmp_path: Path) -> None:
    """By ten visitors, each with pictures of their own; the last is not a tenth above the first."""
    with serving(tmp_path) as page:
        clients = [Client(page.url, verbose=False) for _ in range(10)]
        told = []
        for n in range(WARM + EDITS):
            scene = sample(n)
            file = tmp_path / "given.png"
            render(scene).save(file)
            client = clients[n % len(clients)]
            words = caption(scene), f"{caption(scene)} at night"
            client.predict(*values(client, file, *words), api_name="/edit")
            if n % 20 == 0:
                told.append((n, round(page.resident / 2**20), files(tmp_path)))
                print(f"\n{told[-1][0]} edits: {told[-1][1]} MiB, {told[-1][2]} files", end="")
        first = next(memory for n, memory, _ in told if n >= WARM)
        assert told[-1][1] <= 1.1 * first


def files(folder: Path) -> int:
    """In the sessions' folders."""
    return sum(each.is_file() for each in folder.glob("counterflow-app-*/sessions/**/*"))
