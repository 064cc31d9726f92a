"""Runs a workflow in ComfyUI without its server: comfyui_itself.py COMFYUI NODES WORK.

COMFYUI is a folder with ComfyUI, NODES a folder of custom nodes; WORK has `input/` and
`prompt.json`, a workflow in the API format, and gets `output/` and `outputs.json`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from pathlib import Path
from typing import Any


class Server:
    """What the executor tells its server; nobody listens."""

    client_id = last_node_id = last_prompt_id = None
    sockets_metadata: dict[str, Any] = {}

    def send_sync(self, *told: Any, **more: Any) -> None:
        """Nothing."""


def main(comfyui: str, folder: str, work: Path) -> None:
    sys.path.insert(0, comfyui)
    import comfy.options  # its arguments are not ours

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    import execution
    import folder_paths
    import nodes

    folder_paths.set_input_directory(str(work / "input"))
    folder_paths.set_output_directory(str(work / "output"))
    folder_paths.set_temp_directory(str(work / "temp"))
    assert asyncio.run(nodes.load_custom_node(folder)), "the nodes were not loaded"
    prompt = json.loads((work / "prompt.json").read_text())
    valid, error, outputs, each = asyncio.run(execution.validate_prompt("x", prompt, None))
    assert valid, (error, each)
    more: dict[str, Any] = {}
    if "cache_args" in inspect.signature(execution.PromptExecutor).parameters:
        more = {"cache_args": {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}}
    executor = execution.PromptExecutor(Server(), execution.CacheType.CLASSIC, **more)
    executor.execute(prompt, "x", {}, outputs)
    assert executor.success, executor.status_messages
    (work / "outputs.json").write_text(json.dumps(executor.history_result["outputs"]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
