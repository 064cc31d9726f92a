"""Which weights a model is made of: a digest of all its files, remembered by size and time.

A file is read once; while its size and its time of change stay as they were its digest does, too.
They are remembered in the system's cache folder, which may be deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from counterflow.backbones.hub import commit
from counterflow.backbones.loading import Loading, full_name
from counterflow.backbones.registry import local_folder, repository
from counterflow.errors import InputError, ModelError
from counterflow.outside import read_json
from counterflow.writing import save_bytes_atomically

LENGTH = 12
"""Hex digits of an identity."""


def identify(model: str | Loading) -> str:
    """A model's `identity`: `name@digest` of a folder or `name@commit` of a repository, and the
    digests of further weights. A folder's name is its full path, however it was spelled.
    """
    how = model if isinstance(model, Loading) else Loading(model)
    folder = local_folder(how.model)
    own = how.weights_file()
    more = [] if own is None else [fingerprint(own)]
    more += [f"{fingerprint(path)}x{weight:g}" for path, weight in how.loras()]
    if folder is not None:
        return f"{full_name(how.model)}@{'+'.join([fingerprint(folder), *more])}"
    name, revision = repository(how.model)
    return f"{name}@{'+'.join([commit(name, revision), *more])}"


def fingerprint(where: Path) -> str:
    """Twelve hex digits of the names and the whole content of a folder's files, or of one file.

    Raises ModelError for what cannot be read.
    """
    known = _remembered()
    fresh: dict[str, str] = {}
    whole = hashlib.sha256()
    try:
        for path in sorted(p for p in where.rglob("*") if p.is_file()) or [where]:
            name = os.fsencode(path.relative_to(where).as_posix())
            whole.update(name + f" {_digest(path, known, fresh)}\n".encode())
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read ({error.strerror})") from None
    if fresh:
        with contextlib.suppress(InputError):  # it is only slower where nothing can be remembered
            save_bytes_atomically(cache_file(), json.dumps(known | fresh, indent=0).encode())
    return whole.hexdigest()[:LENGTH]


def cache_file() -> Path:
    """Where digests are remembered: `counterflow/digests.json` in the system's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "counterflow" / "digests.json"


def _digest(path: Path, known: Mapping[str, str], fresh: dict[str, str]) -> str:
    """SHA-256 of a file, by what is known of it or by reading it."""
    state = path.stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    if key in known:
        return known[key]
    with path.open("rb") as file:
        fresh[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return fresh[key]


def _remembered() -> dict[str, str]:
    try:
        data = read_json(cache_file())
    except InputError:
        return {}
    fits = isinstance(data, dict) and all(isinstance(each, str) for each in data.values())
    return data if fits else {}
