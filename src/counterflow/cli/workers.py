"""Which executor a command uses: the options, their defaults, and the executor itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.batch.executors.base import Executor
    from counterflow.batch.items import Rank

ENGINES = ("inline", "processes", "ray")
Workers = Annotated[
    int | None,
    typer.Option(
        help="Number of workers; default one per core for the bundled model on a CPU, one per GPU, "
        "else 1."
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="inline, processes or ray; default processes where there are several workers.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="With ray, the cluster's address; default a cluster of this machine alone. Name "
        "--device too where the cluster has GPUs and this machine none."
    ),
]


@dataclass(frozen=True)
class Works:
    """An executor, and the threads of each of its workers where they count."""

    executor: Executor
    threads: int | None


def chosen(
    engine: str | None,
    workers: int | None,
    threads: int | None,
    address: str | None,
    loading: Loading,
    rank: Rank | None = None,
) -> Works:
    """The executor that the options choose, or that suits the model and the machine.

    A `rank` of `torchrun` is a worker itself, and gets its share of its machine's cores. Raises
    InputError for options that do not fit that.
    """
    if rank is None:
        count = worker_count(workers, loading, address)
        return executor(engine, count, threads, address, loading)
    if engine not in (None, "inline") or workers not in (None, 1) or address is not None:
        raise InputError(
            "under torchrun each rank is one worker: leave out --engine, --workers and --address"
        )
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")
    beside = beside if beside.isdigit() else str(rank.of)
    return executor("inline", max(1, int(beside)), threads, None, loading)


def worker_count(count: int | None, loading: Loading, address: str | None = None) -> int:
    """Number of workers; InputError for fewer than one."""
    if count is not None and count < 1:
        raise InputError(f"--workers is 1 or more, not {count}")
    if count is not None:
        return count
    from counterflow.backbones.registry import BUNDLED

    device = device_of(loading, address)
    if device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    return (os.cpu_count() or 1) if device == "cpu" and loading.model in BUNDLED else 1


def device_of(loading: Loading, address: str | None) -> str:
    """Where the workers compute; of a cluster the device that is named need not be here, too."""
    from counterflow.backbones.opening import pick_device

    if address is not None and loading.device is not None:
        return loading.device
    return pick_device(loading.device)


def executor(
    engine: str | None,
    workers: int,
    threads: int | None,
    address: str | None,
    loading: Loading,
) -> Works:
    """The executor of a name. InputError for another, and for options that do not fit it.

    The bundled model gets one thread in every worker, whatever the executor: threads decide how
    sums are rounded, and with one each a worker loses nothing.
    """
    from counterflow.backbones.registry import BUNDLED

    engine = engine or ("inline" if workers == 1 else "processes")
    if engine not in ENGINES:
        raise InputError(f"--engine is {', '.join(ENGINES)}, not {engine!r:.40}")
    if address is not None and engine != "ray":
        raise InputError("--address is of a Ray cluster: give --engine ray too")
    if threads is not None and threads < 1:
        raise InputError(f"--threads is 1 or more, not {threads}")
    device = device_of(loading, address).partition(":")[0]
    if device != "cpu":
        threads = None
    elif threads is None:
        small = loading.model in BUNDLED
        threads = 1 if small else max(1, (os.cpu_count() or 1) // workers)
    if engine == "inline":
        from counterflow.batch.executors.base import Place
        from counterflow.batch.executors.inline import Inline

        rank = os.environ.get("LOCAL_RANK", "0")  # as torchrun tells it
        return Works(Inline(Place(int(rank) if rank.isdigit() else 0, threads)), threads)
    if engine == "processes":
        from counterflow.batch.executors.processes import Processes

        return Works(Processes(workers, threads), threads)
    from counterflow.batch.executors.ray import RayData

    gpus = float(device in ("cuda", "xpu"))  # Ray counts no others, and would wait for one
    return Works(RayData(workers, threads, address, gpus), threads)
