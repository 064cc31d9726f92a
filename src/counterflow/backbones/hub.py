"""The hub: which commit of a repository is meant, and one clear line where it cannot be had."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from counterflow.backbones.registry import INDEX, parts_without_weights
from counterflow.errors import ModelError

TIMEOUT = 3.0
"""Seconds to wait for the hub, for all that it takes to ask it."""


def commit(name: str, revision: str | None) -> str:
    """The commit of a repository at a revision, by default its newest.

    Where the hub cannot be reached it is the one on this machine. Raises ModelError for what is not
    there, gated, of another form, or on neither.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = _asked(name, revision)
    except HFValidationError as error:
        raise ModelError(f"{name:.99} is no repository's name: {error}") from None
    except GatedRepoError:
        raise ModelError(_gated(name)) from None
    except RevisionNotFoundError:
        raise ModelError(f"{name} has no revision {revision}") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"the hub has no model {name}, or it is private: check the name, or log in "
            "(hf auth login)"
        ) from None
    except Exception as error:
        return _on_this_machine(name, revision, error)
    if info.gated and get_token() is None:
        raise ModelError(_gated(name))
    files = [each.rfilename for each in info.siblings or ()]
    if INDEX not in files:
        raise ModelError(f"{name} is no diffusers pipeline: it has no model_index.json")
    if not any(each.endswith(".safetensors") for each in files):
        raise ModelError(
            f"{name} has no weights in .safetensors (files of other forms can hold code and are "
            "not read)"
        )
    return str(info.sha)


def _asked(name: str, revision: str | None) -> Any:
    """What the hub says of a repository; TimeoutError after `TIMEOUT`.

    A thread of its own asks: the timeout of a request bounds each of its phases alone, and not the
    look-up of the hub's address, which can take half a minute without a network.
    """
    from huggingface_hub import HfApi

    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(HfApi().model_info(name, revision=revision, timeout=TIMEOUT))
        except Exception as error:
            answer.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(TIMEOUT)
    if not answer:
        raise TimeoutError(f"no answer in {TIMEOUT:g} seconds")
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def is_here(name: str, revision: str | None) -> bool:
    """Whether a repository's pipeline is whole on this machine, so that no network is needed."""
    folder = _snapshot(name, revision)
    return folder is not None and not parts_without_weights(folder)


def _snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of the hub's cache that holds a repository at a revision."""
    from huggingface_hub import try_to_load_from_cache

    known = try_to_load_from_cache(name, INDEX, revision=revision)
    return Path(known).parent if isinstance(known, str) else None


def _on_this_machine(name: str, revision: str | None, error: Exception) -> str:
    """The commit that is here, where the hub cannot be reached."""
    folder = _snapshot(name, revision)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    unreachable = f"the hub cannot be reached ({reason}); fetch it where there is a network"
    if folder is None:
        raise ModelError(
            f"{name} is not on this machine, and {unreachable} (hf download), or give a folder"
        )
    if missing := parts_without_weights(folder):
        raise ModelError(f"{name} lacks {', '.join(missing)} here, and {unreachable} (hf download)")
    return folder.name


def _gated(name: str) -> str:
    return (
        f"{name} is gated: accept its licence at https://huggingface.co/{name}, then log in "
        "(hf auth login)"
    )
