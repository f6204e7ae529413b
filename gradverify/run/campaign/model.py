"""A campaign: the seeded graphs, subjects and dtypes to judge.

The processes that judge are in `workers`, what they found in `log`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple

from ...core.errors import GradverifyError, UnknownName
from ...core.outcome import GatePolicy
from ...frameworks.registry import BUILT_IN, GROUP, find
from ...namespaces.dtypes import FORMATS, PRECISION
from .. import plan
from ..runner import Settings

DTYPES = (*FORMATS, *PRECISION)

Spread = Literal["none", "dtypes", "both"]


class Combo(NamedTuple):
    subject: str
    dtype: str


@dataclass(frozen=True)
class Campaign:
    """The graphs, subjects and dtypes of a campaign, and its limits.

    graphs   the indices of the seeded graphs
    combos   subject × dtype, without those that the subject does not compute in
    spread   "none": each graph in each combo; "dtypes": in one dtype, in turn, on every subject; "both": on one subject
    order    of the derivatives: the graphs' own gradients, or (2) those of their gradients
    limit    seconds after which a verdict counts as hanging
    every    are all entries to carry their text?
    policy   what gates
    """

    graphs: Sequence[int]
    combos: tuple[Combo, ...]
    seed: int = 0
    device: str = "cpu"
    spread: Spread = "none"
    order: int = 1
    limit: float = 300.0
    every: bool = False
    policy: GatePolicy = field(default_factory=GatePolicy)

    @cached_property
    def verdicts(self) -> int:
        return sum(len(self.todo(i)) for i in self.graphs)

    def todo(self, i: int) -> tuple[Combo, ...]:
        """Of graph i: dtype by dtype, since subjects share a case's truth. Who comes first pays for it, so they take
        turns."""
        dtypes = list(dict.fromkeys(c.dtype for c in self.combos))
        if self.spread != "none":
            i, dtypes = i // len(dtypes), [dtypes[i % len(dtypes)]]
        made: list[Combo] = []
        for dtype in dtypes:
            here = [c for c in self.combos if c.dtype == dtype]
            first = i % len(here)
            made += [here[first]] if self.spread == "both" else [*here[first:], *here[:first]]
        return tuple(made)


def campaign(settings: Settings, graphs: Sequence[int], **how: Any) -> Campaign:
    """The campaign that `settings` ask for; without subjects, on all that are available and judge graphs.

    `how` are further fields of a Campaign.

    Raises UnknownName for a subject or a dtype that does not exist, and GradverifyError for a subject that was asked for
    and is not available, and where nothing is left to judge.
    """
    plan.check_names(settings)
    for dtype in settings.dtypes or ():
        if dtype not in DTYPES:
            raise UnknownName("dtype", dtype, DTYPES)
    subjects = []
    for name in settings.subjects or (*BUILT_IN, *(e.name for e in entry_points(group=GROUP))):
        why_not = find(name, settings.device).unavailable()
        if why_not and settings.subjects:
            raise GradverifyError(f"{name} cannot be judged here: {why_not}")
        if not why_not:
            subjects.append(name)
    combos = tuple(
        Combo(s, d)
        for s in subjects
        for d in settings.dtypes or DTYPES
        if PRECISION.get(d, d) in find(s, settings.device).dtypes
    )
    if not graphs:
        raise GradverifyError("nothing to judge: no graphs")
    if not combos:
        raise GradverifyError("nothing to judge: none of the subjects computes in any of the dtypes")
    return Campaign(graphs, combos, settings.seed, settings.device, policy=settings.policy, **how)
