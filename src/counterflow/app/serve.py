"""Open the model, and serve the page until it is interrupted."""

from __future__ import annotations

import hmac
import os
import time
from pathlib import Path
from typing import Any

from counterflow.app import sources
from counterflow.app.session import MOST_SESSIONS
from counterflow.edit.job import ModelChoice
from counterflow.errors import InputError

SIGN_IN = "Any name will do; the password is that of `counterflow app --password`."


def serve(
    choice: ModelChoice,
    host: str,
    port: int | None,
    password: str | None,
    browser: bool,
    folder: Path,
) -> None:
    """Load the model and serve the page at an address that `check_address` has let pass.

    All its files are in `folder`, which is the caller's to remove.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "GRADIO_ROOT_PATH"):
        os.environ.pop(name, None)  # what would open the page further than the options say
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

    from counterflow.app import page
    from counterflow.app.studio import Studio

    blocks = page.build(Studio(choice.load(), choice, folder))
    try:
        launch(blocks, page, host, port, password, browser)
    except OSError as error:
        raise InputError(f"no page at {host}, port {port or 'any'}: {error}") from None
    print(f"The page is at {blocks.local_url} (Ctrl-C ends it).", flush=True)
    while blocks.is_running:  # Gradio's own waiting ends with five seconds more, if a tab is open
        time.sleep(0.1)


def launch(
    blocks: Any, page: Any, host: str, port: int | None, password: str | None, browser: bool
) -> None:
    """Serve a page; nothing that would make it public, and no file but what it made itself."""

    def admitted(name: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (password or "").encode())

    blocks.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        share=False,
        auth=admitted if password else None,
        auth_message=SIGN_IN,
        allowed_paths=[],
        max_file_size=sources.MOST_BYTES,
        state_session_capacity=4 * MOST_SESSIONS,
        strict_cors=True,
        enable_monitoring=False,
        run_history=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        show_error=False,
        prevent_thread_lock=True,
        quiet=True,
        theme=page.theme(),
        css=page.style(),
    )
