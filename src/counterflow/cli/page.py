"""`app`: the page."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec
from typing import Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import interrupt
from counterflow.cli.options import TOYBOX, opens_a_model
from counterflow.errors import InputError

LOOPBACK = "127.0.0.1"


def register(commands: typer.Typer) -> None:
    """Add this file's command."""
    commands.command()(app)


@opens_a_model
def app(
    host: Annotated[
        str, typer.Option(help="Address to serve at; any but this machine's own needs --password.")
    ] = LOOPBACK,
    port: Annotated[
        int | None, typer.Option(help="Port; default the first free one from 7860 on.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            help="Asked of every visitor; better given in the environment than on the line.",
            envvar="COUNTERFLOW_PASSWORD",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    loading: Loading = TOYBOX,
) -> None:
    """Open a page in the browser on which pictures are edited; it serves this machine alone.

    Needs Gradio: `pip install gradio`.
    """
    check_address(host, port, password)
    if find_spec("gradio") is None:
        raise InputError("the page needs Gradio: pip install gradio")
    loading.check()
    from counterflow.app.serve import serve
    from counterflow.edit.job import ModelChoice

    interrupt.heed("SIGTERM", "SIGHUP")  # whoever stops it, nothing of a visitor is left
    with interrupt.temporary_folder("counterflow-app-") as folder:
        serve(ModelChoice(loading), host, port, password, browser, folder)


def check_address(host: str, port: int | None, password: str | None) -> None:
    """InputError for an address that is none, and for one that others reach without a password."""
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"--port is from 1 to 65535, not {port}")
    if password is not None and not password.strip():
        raise InputError("--password is empty: give one, or leave it out")
    if host == "localhost":
        return
    try:
        alone = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise InputError(f"--host is an address, as {LOOPBACK} or 0.0.0.0, not {host!r}") from None
    if not alone and password is None:
        raise InputError(f"{host} can be reached by others: give a --password too")
