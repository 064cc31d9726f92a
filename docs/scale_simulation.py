"""A thousand workers that fail and lag, on the scheduler of the `processes` engine.

    python docs/scale_simulation.py [WORKERS] [TASKS]

Time is simulated, the scheduler is the real one: `counterflow.batch.executors.schedule.Schedule`.
A task takes a log-normal time; a worker fails at random, as machines do, and is made anew; some
workers are stragglers, several times slower than the others. Printed for each case: how long the
run takes against the ideal one, what was done twice, and what was given up.
"""

from __future__ import annotations

import heapq
import random
import sys
from dataclasses import dataclass

from counterflow.batch.executors.schedule import Schedule


@dataclass(frozen=True)
class World:
    """How workers behave; times in seconds."""

    task: float = 20.0
    """Median time of a task."""
    spread: float = 0.3
    """Standard deviation of its logarithm."""
    making: float = 60.0
    """Time to make a worker: a machine, an image, a model."""
    life: float = 4 * 3600.0
    """Mean time between failures of a worker; spot instances have less."""
    stragglers: float = 0.02
    """Share of the workers that are slow."""
    slowness: float = 4.0
    """How much slower they are."""


@dataclass
class Outcome:
    """What became of a run."""

    seconds: float
    ideal: float
    begun: int
    done: int
    given_up: int


def simulate(world: World, workers: int, tasks: int, seed: int = 0) -> Outcome:
    """A run in simulated time."""
    chance = random.Random(seed)
    speed = [world.slowness if chance.random() < world.stragglers else 1.0 for _ in range(workers)]
    sizes = [world.task * chance.lognormvariate(0, world.spread) for _ in range(tasks)]
    schedule = Schedule(range(tasks), workers)
    ready = [False] * workers
    events: list[tuple[float, int, bool]] = []
    now, begun, done, given_up, idle = 0.0, 0, 0, 0, set(range(workers))
    while True:
        for place in sorted(idle):
            task = schedule.take(place)
            if task is None:
                break
            idle.discard(place)
            begun += 1
            taken = sizes[task] * speed[place] + (0 if ready[place] else world.making)
            fails = chance.expovariate(1 / world.life)
            heapq.heappush(events, (now + min(taken, fails), place, taken <= fails))
        if not schedule.busy:
            break
        now, place, finished = heapq.heappop(events)
        if finished:
            ready[place] = True
            schedule.finished(place)
            done += 1
        else:
            given_up += schedule.lost(place, "simulated", ready[place]) is not None
            ready[place] = False
        idle.add(place)
    useful = sum(1 / each for each in speed)
    return Outcome(now, sum(sizes) / useful, begun, done, given_up)


def main(workers: str = "1000", tasks: str = "20000") -> None:
    """Print the table of `docs/scale.md`."""
    worlds = {
        "no failures, no stragglers": World(life=1e12, stragglers=0),
        "a failure each 4 h": World(stragglers=0),
        "a failure each 4 h, 2 % four times slower": World(),
        "the same in tasks of a tenth": World(task=2.0),
        "spot machines: a failure each 20 min": World(life=1200),
        "a failure each 2 min": World(life=120),
    }
    print(f"| {workers} workers | time over the ideal | begun again | given up |")
    print("|---|---|---|---|")
    for name, world in worlds.items():
        count = int(tasks) * round(20.0 / world.task)
        out = simulate(world, int(workers), count)
        again = (out.begun - count) / count
        print(f"| {name} | {out.seconds / out.ideal:.2f} | {again:.2%} | {out.given_up} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
