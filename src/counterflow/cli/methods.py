"""`methods`: lists the methods, and the settings of one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from counterflow.cli import completing, show
from counterflow.cli.options import Json
from counterflow.errors import InputError


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(methods)


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A method whose settings are listed.", autocompletion=completing.methods
        ),
    ] = None,
    json: Json = False,
    markdown: Annotated[
        bool, typer.Option(help="Print all methods and settings as a Markdown page.")
    ] = False,
) -> None:
    """List the methods, or the settings of one."""
    if markdown and (name or json):
        raise InputError("--markdown prints a page of all methods: leave out NAME and --json")
    if markdown:
        show.line("\n".join(_page()))
    elif json:
        show.as_json(
            {"methods": list(_listed())}
            if name is None
            else _facts(name) | {"settings": _settings(name)}
        )
    elif name is None:
        header = ["name", "title", "inverts", "mask", "forwards", "each further", "paper"]
        show.table(header, [_row(facts) for facts in _listed()])
        show.line(
            "\nForwards of the network at the defaults, guidance as two: for the first target, the "
            "inversion included, and for each further one.\n"
            "`counterflow methods NAME` lists a method's settings."
        )
    else:
        facts, rows = _facts(name), _settings(name)
        show.line(f"{name}: {facts['title']}\n{facts['paper']}")
        show.line(
            f"{facts['forwards']['first']} forwards, {facts['forwards']['further']} for each "
            "further target\n"
        )
        columns = ("name", "text", "values", "help")
        header = ["setting", "default", "values", "meaning"]
        show.table(header, [[row[key] for key in columns] for row in rows])


def _listed() -> Iterator[dict[str, Any]]:
    """Every method; one that cannot be loaded is left out with a warning."""
    from counterflow.methods import registry

    for name in registry.entries():
        try:
            yield _facts(name)
        except InputError as error:
            warnings.warn(f"method {name}: {error}", stacklevel=2)


def _row(facts: dict[str, Any]) -> list[Any]:
    """The line of a method in the list."""
    inverts = "yes" if facts["inverts"] else "no"
    mask = "needed" if facts["needs_mask"] else ""
    cost = facts["forwards"]
    return [facts["name"], facts["title"], inverts, mask, *cost.values(), facts["paper"]]


def _facts(name: str) -> dict[str, Any]:
    """The entry of a method in the list."""
    from counterflow.methods import registry
    from counterflow.methods.price import price

    entry, method = registry.entry(name), registry.method(name)
    return {
        "name": name,
        "title": entry.title or method.title,
        "paper": method.paper,
        "inverts": method.inversion is not None,
        "needs_mask": method.needs_mask,
        "forwards": asdict(price(method)),
        "doc": (type(method).__doc__ or "").strip(),
    }


def _settings(name: str) -> list[dict[str, Any]]:
    """Every setting of a method, as it was declared, with the method's own default."""
    from counterflow.methods import registry

    method = registry.method(name)
    return [
        {
            "name": each.name,
            "default": getattr(method, each.name),
            "text": each.kind.write(getattr(method, each.name)),
            "values": each.kind.says,
            "help": each.help,
        }
        for each in method.declared()
    ]


def _page() -> Iterator[str]:
    """docs/methods.md, line by line."""
    from counterflow.methods import registry

    yield "# The methods, and every setting of each\n"
    yield (
        "Printed by `counterflow methods --markdown`. A setting is given as `--set name=value`,\n"
        "in Python as an argument of `editor.invert` or `editor.edit`.\n"
    )
    for name in registry.METHODS:
        facts = _facts(name)
        yield f"## {name}\n"
        cost = facts["forwards"]
        yield (
            f"{facts['title']}. {facts['paper']}. {cost['first']} forwards, {cost['further']} for "
            "each further target.\n"
        )
        if settings := registry.entry(name).settings:
            kinds = {each.name: each.kind for each in registry.method(name).declared()}
            given = ", ".join(f"`{k}={kinds[k].write(v)}`" for k, v in settings.items())
            yield f"As `{registry.method(name).name}`, with {given}.\n"
            continue
        yield "| setting | default | values | meaning |\n|---|---|---|---|"
        for row in _settings(name):
            yield f"| `{row['name']}` | {row['text']} | {row['values']} | {row['help']} |"
        yield ""
