"""A function that remembers its last few answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A function of one argument whose last `most` different answers are not made again."""

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        self.make, self.most = make, most
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __call__(self, key: K) -> V:
        """The answer; what was not asked for longest is dropped first."""
        if key not in self._kept:
            self._kept[key] = self.make(key)
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return self._kept[key]
