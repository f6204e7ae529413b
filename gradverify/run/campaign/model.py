"""A campaign: the seeded graphs, subjects and dtypes to judge.

The processes that judge are in `workers`, what they found in `log`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from itertools import chain
from typing import Any, Literal, NamedTuple

from ...core.errors import GradverifyError, UnknownName
from ...core.outcome import GatePolicy
from ...frameworks.registry import BUILT_IN, GROUP, find
from ...namespaces.dtypes import FORMATS, PRECISION
from .. import plan
from ..runner import Settings
from .corpus import Example

DTYPES = (*FORMATS, *PRECISION)

Spread = Literal["none", "dtypes", "both"]


class Combo(NamedTuple):
    subject: str
    dtype: str


class Verdicting(NamedTuple):
    """A verdict to come: on a graph of a seed, of a subject in a dtype."""

    seed: int
    graph: int
    combo: Combo


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
    corpus   graphs that are judged before the others, each in its dtype on every subject; None where nothing is learned
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
    corpus: tuple[Example, ...] | None = None

    @cached_property
    def verdicts(self) -> int:
        return sum(len(self.todo(i)) for i in self.graphs) + sum(not self.draws(v) for v in self.of_corpus)

    @cached_property
    def of_corpus(self) -> frozenset[Verdicting]:
        """The verdicts on the graphs of the corpus."""
        return frozenset(v for example in self.corpus or () for v in self._on(example))

    def draws(self, v: Verdicting) -> bool:
        """Is it a verdict on one of the campaign's own graphs?"""
        return v.seed == self.seed and v.graph in self.graphs and v.combo in self.todo(v.graph)

    def tasks(self, done: Collection[Verdicting]) -> Iterator[list[Verdicting]]:
        """What is left to judge, graph by graph: those of the corpus first."""
        of_corpus = (self._on(example) for example in self.corpus or ())
        own = (
            [v for c in self.todo(i) if (v := Verdicting(self.seed, i, c)) not in self.of_corpus] for i in self.graphs
        )
        for task in chain(of_corpus, own):
            if left := [v for v in task if v not in done]:
                yield left

    def _on(self, example: Example) -> list[Verdicting]:
        seed, graph, dtype = example
        return [Verdicting(seed, graph, combo) for combo in self.combos if combo.dtype == dtype]

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
