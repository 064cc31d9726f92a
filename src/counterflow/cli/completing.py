"""What a shell offers as completions, with a few words on each; none of it loads torch.

Typer keeps of what is offered what begins as the word that is typed.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from counterflow.errors import CounterflowError

Offers = list[tuple[str, str]]


def methods() -> Offers:
    """Names of methods, with their titles."""
    from counterflow.methods import declared, registry

    return [(name, declared.title(name)) for name in registry.entries()]


def some_methods(incomplete: str) -> Offers:
    """The same for a list with commas, or `all`."""
    before, comma, _ = incomplete.rpartition(",")
    offers = methods() if comma else [*methods(), ("all", "every method")]
    return [(f"{before}{comma}{name}", title) for name, title in offers]


def settings(ctx: typer.Context) -> Offers:
    """Settings of the methods that are named before, or of the command's own, at their defaults."""
    from counterflow.methods import declared, registry

    own = registry.DEFAULT if ctx.info_name in ("edit", "run") else "ftedit"
    named = ctx.params.get("method") or own
    found: dict[str, str] = {}
    for name in [named] if isinstance(named, str) else named:
        try:
            for each in declared.settings(name):
                found.setdefault(f"{each.name}={each.default}", each.help)
        except CounterflowError:  # no such method, as the command will say
            continue
    return list(found.items())


def models() -> Offers:
    """The bundled models, those in the hub's cache, and repositories that people have."""
    from counterflow.backbones.families import FAMILIES
    from counterflow.backbones.registry import bundled, cached

    found = dict.fromkeys((name for name, _ in bundled()), "bundled")
    found |= dict.fromkeys((name for name, _ in cached()), "in the cache")
    for family in FAMILIES.values():
        for each in family.checkpoints:
            found.setdefault(each.repository, f"{family.title}, {each.licence}")
    return list(found.items())


def families() -> Offers:
    """Families of models, with their titles."""
    from counterflow.backbones.families import FAMILIES

    return [(name, family.title) for name, family in FAMILIES.items()]


def words(*options: str) -> Callable[[], list[str]]:
    """What completes an option of a few words."""
    return lambda: list(options)
