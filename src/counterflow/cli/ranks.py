"""Which of several ranks finishes last: that one tells of all, and may exit with an error."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterflow.batch.items import Rank

PATIENCE = timedelta(seconds=20)


def finishes_last(rank: Rank) -> bool | None:
    """Note that a rank has finished; whether all others had. None where nobody counts.

    `torchrun` and `accelerate launch` keep a store for their ranks, and end all of them as soon as
    one exits with an error: a rank whose work has failed in part must not, while others work.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    with contextlib.suppress(KeyError, ValueError, RuntimeError):  # the store may be gone, too
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*where, None, False, PATIENCE, wait_for_workers=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return bool(store.add(f"counterflow/finished/{attempt}", 1) == rank.of)
    return None
