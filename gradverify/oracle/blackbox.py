"""Slopes of a function that can only be called: measured noise, a step chosen from it, and an honest bound.

Where no definition exists there is nothing to evaluate at hundreds of bits. What is left is the function's own values:
the noise in them is measured (Moré & Wild, "Estimating Computational Noise", SIAM J. Sci. Comput. 33 (2011)), central
differences are taken over a ladder of steps and extrapolated once (Richardson), and the step is the one at which what
the neighbours on the ladder disagree by, plus what noise contributes, is smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

POINTS = 9
"""Values in Moré and Wild's difference table; they recommend seven or more."""

LADDER = tuple(2.0**-k for k in range(1, 27))
"""Steps, relative to the length scale of the direction."""

NOISE = 4.0
"""How many times its standard deviation the noise of a single value may be: for normal errors 6e-5 exceed it, and the
extrapolation averages four values, whose worst case is taken."""

ROUGH = 2.0**-20
"""Noise above this share of the values is no rounding, in float32 neither. Where no step moves φ by more than SEEN times two
values' noise, it is next to all that there is to see: of a sawtooth whose period is far below every step (x mod y at
x = 1e17 y), or of a wave of some hundred ulps of x, the slope from afar is that of its mean, and no bound on the slope at
the point."""

SEEN = 16.0
"""A slope whose largest difference is no more than so many times its noise has one digit at best."""


@dataclass(frozen=True, slots=True)
class Slope:
    """φ'(0) to within `bound`; `noise` is the standard deviation of φ's values, `step` the chosen relative step.

    The bound is infinite where no step gave a stable answer: a kink or a jump at the point, or noise larger than the
    slope at every step. `steepest` is the largest |φ(±h) - φ(0)|/h seen on the ladder: the scale of slopes around here.
    `kink` is by how much the slopes of the two sides differ, where that is surely more than noise; else 0. `stair` is the
    height of the first step of a function that stands still over the whole ladder, and jumps beyond it; else 0.
    """

    value: float
    bound: float
    noise: float
    step: float
    steepest: float = 0.0
    kink: float = 0.0
    stair: float = 0.0


def noise_of(phi: Callable[[float], float], length: float) -> float:
    """The standard deviation of the noise in φ near 0, by a difference table of POINTS values.

    Differences of order k of a smooth function vanish like δ^k, those of noise do not: from the order on at which three
    neighbouring estimates agree within a factor of four and the differences change sign, they are the noise. The
    spacing δ is brought down while φ still varies, and up while its values are all the same. Falls back to one ulp of
    the largest value where no order qualifies.
    """
    delta = length * 2.0**-26
    largest = 0.0
    for _ in range(6):
        values = np.array([phi((k - POINTS // 2) * delta) for k in range(POINTS)])
        if not np.isfinite(values).all():
            return math.inf
        largest = max(largest, float(np.max(np.abs(values))))
        if np.ptp(values) == 0:
            delta *= 64.0
            if delta > length / 64:
                return largest * 2.0**-53
            continue
        table, levels, flips = values, [], []
        for k in range(1, POINTS - 2):
            table = np.diff(table)
            gamma = math.factorial(k) ** 2 / math.factorial(2 * k)
            levels.append(math.sqrt(gamma * float(np.mean(np.square(table)))))
            flips.append(bool(table.min() < 0 < table.max()))
        for k in range(len(levels) - 2):
            some = levels[k : k + 3]
            if min(some) > 0 and max(some) <= 4 * min(some) and flips[k]:
                return max(some[0], largest * 2.0**-54)
        delta /= 64.0
    return largest * 2.0**-52


def slope(phi: Callable[[float], float], length: float = 1.0, floor: float = 0.0, resolution: float = 0.0) -> Slope:
    """φ'(0) for φ: R → R, evaluated at |t| <= length/2; `length` is the scale on which φ varies, in units of t. The noise
    is at least `floor`: values of few digits stand still for steps below them, and show none. Two t that are nearer to
    each other than `resolution` are one point.

    Costs 2·len(LADDER) + POINTS calls where φ moves at all steps of the ladder, some twenty more where it stands still at
    the smallest ones, and up to 4·FAR + 2·HALVINGS more where it stands still at all of them.
    """
    sigma = max(noise_of(phi, length), floor)
    if not math.isfinite(sigma):
        return Slope(math.nan, math.inf, sigma, math.nan)
    steps = np.array(LADDER) * length
    right, left, middle = np.array([phi(h) for h in steps]), np.array([phi(-h) for h in steps]), phi(0.0)
    central = (right - left) / (2 * steps)
    # A central difference is blind to a kink at the point. The slopes of the two sides differ by s(h) = O(h) where φ is
    # smooth, so that 2·s(h/2) - s(h) = O(h³); at a kink it is the jump of the slope, and always part of the bound.
    apart = (right + left - 2 * middle) / steps
    kink = np.abs(2 * apart[1:] - apart[:-1])
    # D(h) = φ' + c·h² + …: one extrapolation leaves O(h⁴). Its weights on the values sum to 3/h.
    better = (4 * central[1:] - central[:-1]) / 3
    noisy = 3 * NOISE * sigma / steps[:-1]
    moves = np.fmax(np.abs(right - middle), np.abs(left - middle))
    steepest = float(np.max((moves / steps)[np.isfinite(moves)], initial=0.0))
    if steepest == 0:
        stair = max(_jump_afar(phi, middle, s * steps[0], s * length * 2.0**FAR, resolution) for s in (1.0, -1.0))
    else:
        stair = 0.0
        # Values that stand still below some step and jump there are as coarse as that jump.
        for side, sign in ((right, 1.0), (left, -1.0)):
            moving = np.flatnonzero(side != middle)
            if moving.size and moving[-1] < len(steps) - 1:
                k = int(moving[-1])
                ends = sign * float(steps[k + 1]), sign * float(steps[k])
                sigma = max(sigma, _height(phi, middle, *ends, float(side[k]), resolution))
        noisy = 3 * NOISE * sigma / steps[:-1]
    best = Slope(math.nan, math.inf, sigma, math.nan, steepest, stair=stair)
    values = np.concatenate([right, left, [middle]])
    values = values[np.isfinite(values)]
    varies = float(np.max(np.abs(values - middle), initial=0.0))
    if sigma > ROUGH * float(np.max(np.abs(values), initial=0.0)) and varies <= SEEN * 2 * NOISE * sigma:
        return replace(best, value=0.0)
    jumps: dict[int, float] = {}
    for k in range(1, len(better) - 1):
        near = better[k - 1 : k + 2]
        if not np.isfinite(near).all():
            continue
        # O(h⁴) shrinks sixteenfold per halving, so the coarser neighbour differs by fifteen times what is left.
        smooth = float(abs(near[0] - near[1]) + abs(near[2] - near[1]) + noisy[k])
        bound = smooth + float(kink[k])
        # A wave that the step leaps over: finer steps show another slope beyond their noise, or a quarter of the step moves
        # the function by as much (of a smooth one by a quarter, or less).
        finer = np.abs(better[k + 1 :] - near[1]) > 2 * noisy[k + 1 :] + bound
        waves = moves[k + 2 :] > 0.75 * moves[k] + 2 * NOISE * sigma
        # At the best step of a smooth φ, O(h³) falls eightfold per halving where noise doubles: it is below noise.
        jumps[k] = float(kink[k]) if kink[k] > 4 * smooth else 0.0
        if bound < best.bound and not finer.any() and not waves.any():
            best = Slope(float(near[1]), bound, sigma, LADDER[k], steepest, jumps[k], stair)
    # With several kinks near, a coarse step may have the smallest bound; that at the point shows at two finer ones alike.
    found = LADDER.index(best.step) if best.step in LADDER else len(LADDER)
    seen = [a for k, a in jumps.items() if k >= found and a and abs(jumps.get(k + 1, 0.0) - a) <= a / 8]
    return replace(best, kink=max([best.kink, *seen]))


FAR = 64
"""Powers of two, in lengths, within which a function that stands still is looked for its next value: x + 1e16 moves at
x = 0.3 once x has grown by 2."""

COARSE = 64.0
"""A value that moves between two neighbouring points by this many roundings of itself, and by one part in so many of what it
has moved by at twice the distance, makes a step: continuous functions move by their slope times an ulp there."""


HALVINGS = 60
"""Of the stretch that a step is in: what is left is a double's last bits."""


def _jump_afar(phi: Callable[[float], float], middle: float, near: float, far: float, resolution: float) -> float:
    """The height of the step at which φ, which stands still up to `near`, first leaves φ(0); 0 where it goes off smoothly.

    0 as well where φ moves nowhere up to `far`.
    """
    still, moved = near, 2.0 * near
    while (there := phi(moved)) == middle:
        if abs(moved) >= abs(far):
            return 0.0
        still, moved = moved, 2.0 * moved
    return _height(phi, middle, still, moved, there, resolution)


def _height(
    phi: Callable[[float], float], middle: float, still: float, moved: float, there: float, resolution: float
) -> float:
    """The height of the step between `still`, where φ is φ(0), and `moved`, where it is `there`; 0 of a continuous φ."""
    reached, is_step = abs(there - middle), False
    for _ in range(HALVINGS):
        between = still + (moved - still) / 2
        height, size = abs(there - middle), max(abs(there), abs(middle))
        is_step = math.isfinite(height) and height > COARSE * 2.0**-53 * size and not height <= reached / COARSE
        is_smooth = math.isfinite(height) and not is_step
        if is_smooth or between in (still, moved) or abs(moved - still) < resolution:
            break
        value = phi(between)
        if value == middle:
            still = between
        else:
            moved, there = between, value
    return float(abs(there - middle)) if is_step else 0.0
