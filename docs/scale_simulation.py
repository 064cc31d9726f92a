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
    """A run in simulated time; a worker fails while it is made, at work and idle alike."""
    chance = random.Random(seed)
    speed = [world.slowness if chance.random() < world.stragglers else 1.0 for _ in range(workers)]
    sizes = [world.task * chance.lognormvariate(0, world.spread) for _ in range(tasks)]
    schedule = Schedule(range(tasks), workers)
    events: list[tuple[float, int, str]] = []
    fails = [0.0] * workers
    now, begun, done, given_up = 0.0, 0, 0, 0
    empty, idle = set(range(workers)), set[int]()

    def happens(place: int, after: float, what: str) -> None:
        end = now + after
        failed = end > fails[place]
        heapq.heappush(events, (min(end, fails[place]), place, "failed" if failed else what))

    while schedule.busy:
        for place in sorted(idle):
            if fails[place] <= now:
                schedule.lost(place, "simulated")
                idle.discard(place)
                empty.add(place)
            elif (task := schedule.take(place)) is not None:
                idle.discard(place)
                begun += 1
                happens(place, sizes[task] * speed[place], "finished")
        for place in sorted(empty):
            if schedule.start(place):
                empty.discard(place)
                fails[place] = now + chance.expovariate(1 / world.life)
                happens(place, world.making, "made")
        now, place, what = heapq.heappop(events)
        if what == "failed":
            given_up += schedule.lost(place, "simulated") is not None
            empty.add(place)
            continue
        if what == "made":
            schedule.made(place)
        else:
            schedule.finished(place)
            done += 1
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
