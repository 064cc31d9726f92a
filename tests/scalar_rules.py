"""Methods without attention as recurrences of one number, on a velocity `v(x, prompt, guidance)`.

Where velocities are `a x + b`, whatever the noise level. Each takes the picture, the noise levels,
the method for its settings, and a function that draws noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol


class Asked(Protocol):
    def __call__(self, x: float, prompt: str, guidance: float = 1) -> float: ...


Draw = Callable[[], float]
Rule = Callable[[Asked, float, Sequence[float], Any, Draw], float]
SOURCE, TARGET, NEGATIVE = "source", "target", ""


def up(v: Asked, x: float, s: Sequence[float], prompt: str = SOURCE, g: float = 1) -> list[float]:
    """Euler's inversion, noise first."""
    way = [x]
    for b, a in pairwise(s[::-1]):
        way.insert(0, way[0] + (a - b) * v(way[0], prompt, g))
    return way


def down(v: Asked, x: float, s: Sequence[float], g: float) -> float:
    for a, b in pairwise(s):
        x += (b - a) * v(x, TARGET, g)
    return x


def fixed_point(v: Asked, x: float, s: Sequence[float], how: Any) -> list[float]:
    way = [x]
    for b, a in pairwise(s[::-1]):
        z, total = way[0], 0.0
        for _ in range(how.iterations + 1):
            velocity = v(z, SOURCE, how.invert_guidance)
            z, total = way[0] + (a - b) * velocity, total + velocity
        way.insert(0, way[0] + (a - b) * total / (how.iterations + 1))
    return way


def ftedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    return down(v, fixed_point(v, x, s, how)[0], s, how.guidance)


def flowedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    """Every noise is new; the last `n_min` steps sample."""
    n, z, e = len(s) - 1, x, draw()
    for k in range(max(0, n - how.n_max), n):
        noisy, h = (1 - s[k]) * x + s[k] * e, s[k + 1] - s[k]
        if n - k > how.n_min:
            there = v(z + noisy - x, TARGET, how.guidance)
            z += h * (there - v(noisy, SOURCE, how.source_guidance))
            e = draw()
            continue
        z += noisy - x if n - k == how.n_min else 0
        z += h * v(z, TARGET, how.guidance)
    return z


def directedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    way = up(v, x, s, g=how.invert_guidance)
    z = way[0]
    for k in range(len(s) - 1):
        z += (s[k + 1] - s[k]) * v(z + way[k + 1] - way[k], TARGET, how.guidance)
    return z


def paired(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    z, g = x, 0.0
    for k, (a, b) in enumerate(pairwise(s)):
        noisy = (1 - a) * x + a * draw()
        there = z + noisy - x
        apart = v(there, TARGET) - v(noisy, SOURCE)
        if how.guidance != 1:
            g = g or how.guidance * min(2.0, max(1.0, math.sqrt(how.clear / abs(apart))))
        if how.guidance != 1 and k >= len(s) - 1 - how.unguided:
            apart *= 1 + how.share * (g - 1)
        elif how.guidance != 1:
            apart = g * apart - (g - 1) * (v(there, NEGATIVE) - v(noisy, NEGATIVE))
        z += (b - a) * apart
    change = z - x
    return x + min(1.0, max(0.0, abs(change) / how.least - 1) if how.least else 1.0) * change


def sdedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    s = s[-min(how.n_start, len(s) - 1) - 1 :]
    return down(v, (1 - s[0]) * x + s[0] * draw(), s, how.guidance)


def rf_inversion(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    y, noise = x, draw()
    for b, a in pairwise(s[::-1]):
        y += (a - b) * ((1 - how.gamma) * v(y, NEGATIVE) + how.gamma * (noise - y) / (1 - b))
    for k, (a, b) in enumerate(pairwise(s)):
        eta = how.eta if k < int(how.eta_ratio * (len(s) - 1)) else 0
        y += (b - a) * ((1 - eta) * v(y, TARGET, how.guidance) + eta * (y - x) / a)
    return y


def taylor(v: Asked, x: float, s: Sequence[float], how: Any, kept: bool) -> float:
    """Both ways by the midpoint; with `kept` its first velocity is the step's before."""
    for prompt, g, levels in ((SOURCE, 1, s[::-1]), (TARGET, how.guidance, s)):
        last: float | None = None
        for a, b in pairwise(levels):
            first = v(x, prompt, g) if last is None else last
            half = v(x + (b - a) / 2 * first, prompt, g)
            x += (b - a) * half
            last = half if kept else None
    return x


def pmi(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    """A correction's direction is plus or minus one; mimic-CFG's two forms are one."""
    reach = math.sqrt(2 * how.size + 3 * math.sqrt(2 * how.size))
    for prompt, g, levels in ((SOURCE, 1, s[::-1]), (TARGET, how.guidance, s)):
        last, total, fire = None, 0.0, how.base == "fireflow"
        for a, b in pairwise(levels):
            h = b - a
            first = last if fire and last is not None else v(x, prompt, g)
            new = velocity = v(x + h / 2 * first, prompt, g) if fire else first
            total += h * velocity
            mean = total / (b - levels[0])
            if prompt == TARGET:
                part = mean * velocity / (velocity if fire else mean) ** 2 * mean
                new = how.w * velocity + (1 - how.w) * part
            elif last is not None:
                sign = math.copysign(1, velocity - last) if velocity != last else 0
                new -= reach * h * math.copysign(1, velocity - mean + sign)
            x, last, total = x + h * new, new, total + (0 if fire else h * new)
    return x


def uniinv(v: Asked, x: float, s: Sequence[float], prompt: str) -> list[float]:
    way, velocity = [x], v(x, prompt)
    for b, a in pairwise(s[::-1]):
        velocity = v(way[0] + (a - b) * velocity, prompt)
        way.insert(0, way[0] + (a - b) * velocity)
    return way


def uniedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    """The mask of one cell is nothing: the source's velocity and the weighted difference."""
    s = s[-max(1, int(how.alpha * (len(s) - 1))) - 1 :]
    z = uniinv(v, x, s, NEGATIVE)[0]
    for a, b in pairwise(s):
        v_s, v_t = (v(z, prompt, how.guidance) for prompt in (SOURCE, TARGET))
        z += (b - a) * (v_s + how.omega * (v_t - v_s))
    return z


def flowalign(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    z = x
    for a, b in pairwise(s):
        q = (1 - a) * x + a * draw()
        p = z + q - x
        v_q, v_p = v(q, SOURCE), v(p, SOURCE) + how.guidance * (v(p, TARGET) - v(p, SOURCE))
        z += (b - a) * (v_p - v_q) + how.weight * ((q - a * v_q) - (p - a * v_p))
    return z


def dnaedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    s, noise, way, asked = s[how.skip_steps :], draw(), [x], [0.0]
    for b, a in pairwise(s[::-1]):
        asked.insert(0, way[0] + (a - b) / (1 - b) * (noise - way[0]))
        velocity = v(asked[0], SOURCE, how.source_guidance)
        noise = way[0] + (1 - b) * velocity
        way.insert(0, way[0] + (a - b) * velocity)
    z, reference = way[0], x
    for k, (a, b) in enumerate(pairwise(s)):
        velocity = v(z + asked[k] - way[k], TARGET, how.guidance)
        reference += (b - a) * velocity - (way[k + 1] - way[k])
        z += (b - a) * (how.eta * velocity + (1 - how.eta) * (z - reference) / a)
    return z


def steerflow(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    """One cell's mask is that of its own quantile, and the cosine a sign."""
    way = uniinv(v, x, s, SOURCE)
    z, mask = way[0], 1 / (1 + math.exp(how.sharpness / 2))
    for k, (a, b) in enumerate(pairwise(s)):
        v_s, v_t = (way[k + 1] - way[k]) / (b - a), v(z, TARGET, how.guidance)
        weight = (1 - b**how.alpha) * math.copysign(1, v_s * v_t)
        z += (b - a) * (v_s + mask * weight * (v_t - v_s))
    return z


def chordedit(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    def change(level: float) -> float:
        noisy = (1 - level) * x + level * e
        return -level * (v(noisy, TARGET, how.guidance) - v(noisy, SOURCE, how.guidance))

    e, t, d = draw(), how.sigma, how.delta
    z = x + how.strength * (d * change(t) + t * change(t - d)) / (t + d)
    last = (1 - how.last_sigma) * z + how.last_sigma * e
    return last - how.last_sigma * v(last, TARGET, how.guidance)


def dvrf(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    n, z = len(s) - 1, x
    a = (s[n - 2] - s[n - 1]) / 1.6
    for i in range(n):
        u, eta, e = i / (n + 27), how.drift * i / n, draw()
        hump = u**9 * (1 - u) ** 7 / (0.5625**9 * 0.4375**7)
        rate = 2.2 * ((a / 1.6 - a / 4) * hump + a / 4 * u)
        there = (1 - s[i]) * z + s[i] * e + eta * s[i] * (z - x)
        here = (1 - s[i]) * x + s[i] * e
        change = v(there, TARGET, how.guidance) - v(here, SOURCE, how.source_guidance)
        z -= rate * (change + (1 - eta) * (z - x))
    return z


def ode(v: Asked, x: float, s: Sequence[float], how: Any, draw: Draw) -> float:
    if how.solver == "midpoint":
        return taylor(v, x, s, how, kept=False)
    return down(v, up(v, x, s)[0], s, how.guidance)


RULES: dict[str, Rule] = {
    "ftedit": ftedit,
    "ftedit-2": ftedit,
    "flowedit": flowedit,
    "directedit": directedit,
    "paired": paired,
    "sdedit": sdedit,
    "prompt-swap": sdedit,
    "rf-inversion": rf_inversion,
    "rf-solver": lambda v, x, s, how, draw: taylor(v, x, s, how, kept=False),
    "fireflow": lambda v, x, s, how, draw: taylor(v, x, s, how, kept=True),
    "pmi": pmi,
    "pmi-euler": pmi,
    "uniedit": uniedit,
    "flowalign": flowalign,
    "dnaedit": dnaedit,
    "steerflow": steerflow,
    "chordedit": chordedit,
    "dvrf": dvrf,
    "ode": ode,
    "midpoint": ode,
}
