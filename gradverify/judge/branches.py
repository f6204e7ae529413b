"""Branch by branch: where rounding may turn a mask, an argmax or a rounding to integers, what is right on a branch that
rounding may take is right.

Reruns with SAFETY times the nudges show which decisions may turn. Those that turn together in all of them are one group:
the comparison of a forward pass, and the same one in its reverse pass. Each choice among the groups is a branch. On it
the definition is evaluated and reversed with its decisions forced, in doubles, and it has a budget of its own. An entry
is held against the branch that it comes closest to, in budgets.

The doubles are off by 2^-53/u of the branch's budget (first-order rounding errors grow in proportion to u; Higham 2002,
section 3.1): nothing in the narrower formats, all of it in float64, where this therefore decides nothing.

Rounding may also end on the kink between two branches, where a framework shares the cotangent among equal entries, or
stops it: of gradients, what lies between those of the branches is as defensible as at a kink.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..core.case import Case
from ..frameworks.base import Observation
from ..namespaces.dtypes import FORMATS, to_float64
from ..namespaces.nudged import Decisions, branches_of
from ..oracle.estimate import Estimate
from .budget import RERUNS, Conditions, budget, follow_branch, sample_branches
from .reference import Reference

GROUPS = 4
"""Up to so many groups of decisions, all 2^GROUPS branches are looked at; of more, the ones that reruns took most."""


@dataclass(frozen=True, eq=False)
class Branches:
    """Truth and budget of an answer, over all branches that rounding may take.

    reference  truth and budget, of each entry on the branch that it comes closest to
    elsewhere  how many entries of which array come closest to another branch than the exact one
    every      were all branches looked at that rounding may take?
    """

    reference: Reference
    elsewhere: Mapping[str, int]
    every: bool


def branch_by_branch(case: Case, seen: Observation, ref: Reference, *, seed: int = 0) -> Branches | None:
    """Truth and budget of the closest branches; None where no decision flips within rounding.

    Also None where doubles are not precise enough to follow a branch.
    """
    unsure = 2.0**-53 / FORMATS[case.dtype].roundoff
    if unsure >= 1:
        return None
    exact, reruns = sample_branches(case, 4 * RERUNS, seed)
    others, every = _others(exact, reruns)
    if not others:
        return None
    truth, allowed = ref.truth, ref.budget
    outputs = [_Nearest(*x) for x in zip(seen.outputs, truth.outputs, allowed.outputs)]
    gradients = {n: _Nearest(seen.gradients.get(n), e, allowed.gradients[n]) for n, e in truth.gradients.items()}
    for decisions in others:
        values, slopes = follow_branch(case, decisions)
        there = budget(case, values, slopes, Conditions(seed=seed, forced=decisions))
        for i, nearest in enumerate(outputs):
            nearest.offer(values[i], there.outputs[i], unsure)
        for n, nearest in gradients.items():
            nearest.offer(slopes[n], there.gradients[n], unsure)
    nearest_to = Reference(
        replace(
            truth,
            outputs=tuple(x.want for x in outputs),
            gradients={n: x.want for n, x in gradients.items()},
            low={n: x.low for n, x in gradients.items()},
            high={n: x.high for n, x in gradients.items()},
        ),
        replace(
            allowed,
            outputs=tuple(x.budget for x in outputs),
            gradients={n: x.budget for n, x in gradients.items()},
        ),
    )
    count = {f"out{i}": x.elsewhere for i, x in enumerate(outputs)} | {
        f"d{n}": x.elsewhere for n, x in gradients.items()
    }
    return Branches(nearest_to, {label: int(x.sum()) for label, x in count.items() if x.any()}, every)


def _others(exact: Decisions, reruns: Sequence[Decisions]) -> tuple[list[Decisions], bool]:
    """All branches but the exact one, and whether the list is complete."""
    # which reruns turn it -> decision, entry, its other value
    groups: dict[bytes, list[tuple[int, int, np.generic]]] = {}
    two_valued = True
    for j, here in enumerate(exact):
        there = np.stack([np.asarray(r[j]).ravel() for r in reruns])
        turns = there != here.ravel()
        for at in np.flatnonzero(turns.any(axis=0)):
            values = np.unique(there[turns[:, at], at])
            two_valued &= len(values) == 1
            groups.setdefault(turns[:, at].tobytes(), []).append((j, int(at), values[0]))
    if not groups:
        return [], False
    if len(groups) > GROUPS or not two_valued:
        return _most_frequent(exact, reruns), False
    found: list[Decisions] = []
    for chosen in product([False, True], repeat=len(groups)):
        branch = [np.array(d) for d in exact]
        for group in (g for g, c in zip(groups.values(), chosen) if c):
            for j, i, value in group:
                branch[j].reshape(-1)[i] = value
        found.append(branch)
    return found[1:], True  # the first one has turned nothing


def _most_frequent(exact: Decisions, reruns: Sequence[Decisions]) -> list[Decisions]:
    """The branches of the reruns, the most frequent first."""
    by_key = {branches_of(r): r for r in reruns}
    counts = Counter(map(branches_of, reruns))
    counts.pop(branches_of(exact), None)
    return [by_key[k] for k, _ in counts.most_common(2**GROUPS - 1)]


class _Nearest:
    """An array's truth and budget; each entry has those of the branch closest to the answer."""

    def __init__(self, got: np.ndarray | None, want: Estimate, allowed: np.ndarray) -> None:
        self.got = np.zeros(want.shape) if got is None else to_float64(got)
        self.want, self.budget = want, allowed
        self.share = _share(want.error_of(self.got), self.budget)
        self.elsewhere = np.zeros(want.shape, dtype=bool)
        self.low = self.high = want.hi

    def offer(self, want: np.ndarray, budget: np.ndarray, unsure: float) -> None:
        """Take in another branch, with a bound of `unsure` budgets; its entries that are not finite are skipped."""
        with np.errstate(all="ignore"):
            known = np.isfinite(want) & np.isfinite(budget)
            share = np.where(known, _share(np.abs(self.got - want), budget), np.inf)
            bound = unsure * np.where(known, budget, 0.0)
            self.low, self.high = np.fmin(self.low, want), np.fmax(self.high, want)
        here = share < self.share
        self.share = np.where(here, share, self.share)
        self.elsewhere |= here
        of = self.want
        self.want = Estimate(np.where(here, want, of.hi), np.where(here, 0.0, of.lo), np.where(here, bound, of.bound))
        self.budget = np.where(here, budget, self.budget)


def _share(d: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance in budgets; 0 where nothing is claimed of the entry, so that no branch comes closer."""
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(b), np.where(np.isnan(d), np.inf, d / b), 0.0)
