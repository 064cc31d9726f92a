"""What figures of trust mean for one model: a small JSON, shipped or made by `calibrate`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from counterflow.errors import InputError
from counterflow.outside import Count, Record, read_json
from counterflow.trust.logistic import Figures, Logistic, Scale
from counterflow.writing import save_bytes_atomically

VERSION = 2
SURE = 0.99
"""The most that a probability is: a few hundred trials know no more."""
CONTRADICTION = "contradiction"
"""The figure that tells a wrong sentence: `counterflow.trust.report.of_fit`."""
ROUND_TRIP = "round trip"
"""The figure of the autoencoder alone."""
JUDGE = "judge"
"""How surely the judge, whose readings the probabilities are of, reads the source."""
UNLIKE = 1.75
"""How far from usual pictures, or sentences, one is called unlike them; see `Places.beyond`."""
QUANTILES = tuple(np.linspace(0, 1, 51).round(2).tolist())


@dataclass(frozen=True)
class Places:
    """Where a value lies among many: their quantiles at `QUANTILES`."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Places:
        """The quantiles of some values."""
        return cls(tuple(np.quantile(np.asarray(values, float), QUANTILES).tolist()))

    def __call__(self, value: float) -> float:
        """The share of the values that lie below, 0 to 1."""
        return float(np.interp(value, self.values, QUANTILES, left=0, right=1))

    def beyond(self, value: float) -> float:
        """How far above the median, in distances of the 98th percentile from it."""
        middle, high = self.values[len(self.values) // 2], self.values[-2]
        return (value - middle) / max(high - middle, 1e-9)


@dataclass(frozen=True)
class Unlike:
    """How unlike usual rows a row is: its Mahalanobis distance in scaled figures."""

    scale: Scale
    inverse: tuple[tuple[float, ...], ...]
    """Inverse covariance of the scaled figures."""
    places: Places
    """Of the distances of usual rows."""

    @classmethod
    def of(cls, names: Sequence[str], usual: Sequence[Figures]) -> Unlike:
        """Of rows of figures that are usual."""
        scale = Scale.of(names, usual)
        covariance = np.cov(scale(usual).T).reshape(len(names), len(names))
        inverse = np.linalg.inv(covariance + 0.05 * np.eye(len(names)))
        unlike = cls(scale, tuple(map(tuple, inverse.tolist())), Places((0.0,) * len(QUANTILES)))
        return cls(scale, unlike.inverse, Places.of(unlike(usual).tolist()))

    def __call__(self, rows: Sequence[Figures]) -> Float[np.ndarray, "rows"]:
        """The distance of each row."""
        x = self.scale(rows)
        far: Float[np.ndarray, "rows"] = np.einsum("ri,ij,rj->r", x, np.array(self.inverse), x)
        distances: Float[np.ndarray, "rows"] = np.sqrt(far)
        return distances

    def beyond(self, row: Figures) -> float:
        """How much farther off a row is than usual ones, as in `Places`."""
        return self.places.beyond(float(self([row])[0]))


@dataclass(frozen=True)
class Calibration:
    """Of one model."""

    model: str
    """`Backbone.identity`."""
    made: str
    """The command that made it."""
    usual: Mapping[str, Places]
    """Each figure's quantiles among pictures of the model's world with the right sentence."""
    picture: Unlike
    success: Logistic | None = None
    preserved: Logistic | None = None
    method: str = ""
    """The method whose edits the two probabilities are of; empty where they are not known."""
    size: tuple[int, int] = (0, 0)
    """Width and height at which the model worked on the pictures."""

    def seen(self, row: Figures) -> dict[str, float]:
        """The figures, and the logarithm of how unlike usual pictures they are."""
        row = self.capped(row)
        return dict(row) | {"unlike": float(np.log(self.picture([row])[0] + 1e-6))}

    def beyond(self, row: Figures) -> tuple[float, float]:
        """How unlike usual ones picture and sentence are: 1 as one in fifty, from `UNLIKE` on
        none."""
        sentence = self.usual[CONTRADICTION].beyond(row[CONTRADICTION])
        return self.picture.beyond(self.capped(row)), sentence

    def capped(self, row: Figures) -> Figures:
        """With the usual round trip for a better one: a picture that the model decoded has that."""
        places = self.usual.get(ROUND_TRIP)
        if places is None or row.get(ROUND_TRIP, 0.0) <= places.values[-1]:
            return row
        return dict(row) | {ROUND_TRIP: places.values[len(places.values) // 2]}

    def doubts(self, row: Figures) -> bool:
        """Whether picture or sentence is unlike the usual ones."""
        return max(self.beyond(row)) >= UNLIKE

    def chances(self, row: Figures) -> tuple[float | None, float | None]:
        """The probabilities of success and of preservation; None where they are not known."""
        seen = [self.seen(row)]
        success, preserved = (
            None if each is None else float(np.clip(each(seen)[0], 1 - SURE, SURE))
            for each in (self.success, self.preserved)
        )
        return success, preserved

    def places(self, row: Figures) -> dict[str, float]:
        """Where each figure that is known here lies among the usual ones."""
        return {name: self.usual[name](value) for name, value in row.items() if name in self.usual}

    def write(self, path: Path) -> None:
        """As JSON; InputError where it cannot be written."""
        text = json.dumps({"version": VERSION} | _rounded(asdict(self)), indent=1)
        save_bytes_atomically(path, f"{text}\n".encode())

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """What `write` wrote; InputError for anything else."""
        try:
            told = _Told.of(read_json(path))
        except InputError as error:
            raise InputError(
                f"{path} is no calibration of this version ({error}); run counterflow calibrate"
            ) from None
        return cls(
            told.model,
            told.made,
            {name: Places(tuple(each.values)) for name, each in told.usual.items()},
            _unlike(told.picture),
            _logistic(told.success),
            _logistic(told.preserved),
            told.method,
            (told.size[0], told.size[1]),
        )


def find(identity: str) -> Calibration | None:
    """A model's calibration: the user's own, or the one that is shipped, or None."""
    for folder in (own_folder(), Path(str(files("counterflow.trust") / "calibrations"))):
        path = folder / file_name(identity)
        if path.is_file():
            return Calibration.read(path)
    return None


def own_folder() -> Path:
    """Where a user's calibrations are: `counterflow/calibrations` in the system's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "counterflow" / "calibrations"


def file_name(identity: str) -> str:
    """A file's name for a model: its weights' digest, the same wherever they lie."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", identity.rpartition("@")[2] or "unnamed") + ".json"


class _Values(Record):
    """`Places`."""

    values: list[float]


class _Scaled(Record):
    """`Scale`."""

    names: list[str]
    centre: list[float]
    spread: list[float]


class _Picture(Record):
    """`Unlike`."""

    scale: _Scaled
    inverse: list[list[float]]
    places: _Values


class _Weighted(Record):
    """`Logistic`."""

    scale: _Scaled
    weights: list[float]
    bias: float


class _Told(Record):
    """`Calibration`, as its file has it."""

    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    model: str
    made: str
    usual: dict[str, _Values]
    picture: _Picture
    success: _Weighted | None
    preserved: _Weighted | None
    method: str
    size: Annotated[list[Count], Field(min_length=2, max_length=2)]


def _scale(told: _Scaled) -> Scale:
    return Scale(tuple(told.names), tuple(told.centre), tuple(told.spread))


def _unlike(told: _Picture) -> Unlike:
    inverse = tuple(map(tuple, told.inverse))
    return Unlike(_scale(told.scale), inverse, Places(tuple(told.places.values)))


def _logistic(told: _Weighted | None) -> Logistic | None:
    if told is None:
        return None
    return Logistic(_scale(told.scale), tuple(told.weights), told.bias)


def _rounded(data: Any) -> Any:
    """Numbers of six digits: more are noise, and make the file long."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_rounded(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data
