"""The hub: which commit of a repository is meant, and one clear line where it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterflow.errors import ModelError

TIMEOUT = 3.0
"""Seconds to wait for the hub."""


def commit(name: str, revision: str | None) -> str:
    """The commit of a repository at a revision, by default its newest.

    Where the hub cannot be reached it is the one on this machine. Raises ModelError for what is not
    there, gated, of another form, or on neither.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info: Any = HfApi().model_info(name, revision=revision, timeout=TIMEOUT)
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
    if "model_index.json" not in files:
        raise ModelError(f"{name} is no diffusers pipeline: it has no model_index.json")
    if not any(each.endswith(".safetensors") for each in files):
        raise ModelError(
            f"{name} has no weights in .safetensors (files of other forms can hold code and are "
            "not read)"
        )
    return str(info.sha)


def _on_this_machine(name: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import try_to_load_from_cache

    known = try_to_load_from_cache(name, "model_index.json", revision=revision)
    if isinstance(known, str):
        return Path(known).parent.name
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise ModelError(
        f"{name} is not on this machine, and the hub cannot be reached ({reason}); fetch it where "
        "there is a network (hf download), or give a folder"
    )


def _gated(name: str) -> str:
    return (
        f"{name} is gated: accept its licence at https://huggingface.co/{name}, then log in "
        "(hf auth login)"
    )
