"""What a watch keeps: per definition a bounded number of real calls, chosen for diversity."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random

import numpy as np

from ..frameworks.watching import Call, Definition, Described, Sample
from ..trace.call_site import place
from .sketch import Features, Seen, sketch, sketch_of_cotangents

EAGER = 16
"""Executions of a definition in each test that are all looked at; of later ones those whose number is a power of two, so
that a call that runs a million times is looked at twenty times more."""

WARM = 128
"""Calls of a definition that are looked at before only those are in each test whose number is a power of four: a look takes
as long as some calls of small arrays."""

PATIENCE = 48
"""Calls in a row that were looked at and added nothing (those of three tests), after which of each test only those are whose
number is a power of sixteen: the first, and four more of a long one."""

RESIGNED = 4 * PATIENCE
"""Such calls in a row after which of each test the first is looked at, and those whose number is a power of 4096: a
look whose code is in no cache takes as long as ten small calls, and three of 500 calls would be some percent of them."""

VARIANTS = 6
"""Recorded calls of one definition that differ in arguments that are no arrays (a mode, an axis): each may take another path
through the rule. No more, since such an argument may be a number that is drawn anew for each call."""

ALIKE = 4
"""Signatures of one definition that differ in sizes alone: same ranks, dtypes and flags."""

KINDS = 12
"""Signatures and other arguments of one definition, each with its first call, in all."""

BY_VALUE = 4
"""Further calls of one kind whose values have features (`sketch`) that no recorded one has: each may take another branch."""

LATE = 2
"""Further calls of one kind that have none, spread over the tests: the cotangents that they get may be others."""

MOST_KEYS = 64
"""Keys of calls of one definition that are known again; each takes some kilobytes."""

FOLLOWED = 8
"""Tests after which a late call takes the place of another by chance only, so that each test has the same one."""


@dataclass(frozen=True)
class Limits:
    """What a watch may keep and spend.

    samples  recorded calls of one definition
    bytes    that one recorded call, and all of them, may take
    """

    samples: int = 24
    bytes_each: int = 2**24
    bytes_all: int = 2**28


class Why(Enum):
    """Why a call is kept; what is kept for the first reason goes last."""

    FIRST = "the first of its kind"
    VALUES = "its values have new features"
    LATE = "another test ran it"


@dataclass(frozen=True, eq=False)
class Seat:
    """Where a call belongs among those that are kept.

    kind      the group that shares features: ranks, dtypes and flags, and the other arguments
    why       why it is kept
    features  of its values
    """

    kind: tuple[str, str]
    why: Why
    features: Features


@dataclass(eq=False)
class _Group:
    """Calls of one kind: the sorts of cotangents that arrived, and the tests that ran them."""

    cotangents: set[Hashable] = field(default_factory=set)
    test: object = None
    tests: int = 0


@dataclass(frozen=True, eq=False)
class _Known:
    """Calls of one key: their kind, the names of their arrays, and the features that they had."""

    kind: tuple[str, str]
    names: Sequence[str]
    seen: Seen


class Entry:
    """One definition: how often it ran, and the calls that are recorded.

    executed         how often it ran
    checked          did gradverify's own judgements run it (`check` in a test, a spec)? Those calls count nowhere else
    undifferentiated how often nothing asked for its gradient: under no_grad, or none of its arguments requires grad
    looked_at        how many of the others were held against those that are recorded
    quiet            how many of the next executions need not be looked at
    missed           how often a call could not be recorded, by the reason
    samples          the recorded calls
    """

    def __init__(self, definition: Definition, recorder: Recorder) -> None:
        self.definition, self.recorder = definition, recorder
        self.executed = 0
        self.checked = False
        self.undifferentiated = 0
        self.looked_at = 0
        self.missed: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self._groups: dict[tuple[str, str], _Group] = {}
        self._known: dict[Hashable, _Known] = {}
        self._random = Random(0)
        self.quiet = 0
        self._passed = self._since = self._kept_at = 0

    def is_due(self) -> bool:
        """Is this execution looked at?"""
        if self.quiet:
            self.quiet -= 1
            return False
        self._since += self._passed + 1
        since, powers = self._since, self._powers()
        if since < EAGER and powers == 2:
            following = since + 1
        else:
            following = powers ** (_log(since, powers) + 1)
        self.quiet = self._passed = following - since - 1
        return True

    def _powers(self) -> int:
        """Calls are looked at in each test whose number is a power of this; below WARM the first sixteen as well."""
        without = self.looked_at - self._kept_at
        if without >= PATIENCE:
            return 16 if without < RESIGNED else 4096
        return 2 if self.looked_at < WARM else 4

    def start_test(self) -> None:
        """Look at calls anew: another test begins."""
        self.quiet = self._passed = self._since = 0

    def weigh(self, call: Call, describe: Callable[[], Described]) -> Seat | None:
        """Where a call belongs; None where it adds nothing, or there is no room."""
        self.looked_at += 1
        limits = self.recorder.limits
        if call.size > limits.bytes_each or self.recorder.size + call.size > limits.bytes_all:
            self.missed["it is too large, or the memory for records is used up"] += 1
            return None
        arrays = call.arrays()
        known = self._known.get(call.key)
        if known is not None and not known.seen.has_new(arrays):
            return self._late(known.kind, dict(zip(known.names, arrays)))
        described = describe()
        values = dict(zip(described.names, arrays))
        seat, kind = self._seat(described.signature, described.fixed, values)
        if kind is None:
            return seat
        if known is not None:
            known.seen.add(arrays)
        else:
            if len(self._known) >= MOST_KEYS:
                del self._known[next(iter(self._known))]
            self._known[call.key] = _Known(kind, described.names, Seen(arrays))
        return seat

    def _seat(
        self, signature: str, fixed: str, arrays: Mapping[str, np.ndarray]
    ) -> tuple[Seat | None, tuple[str, str] | None]:
        """Where a call belongs, as far as other calls tell; and its kind, if others of that are kept."""
        ranks = _without_sizes(signature)
        firsts = [s for s in self.samples if s.seat.why is Why.FIRST]
        alike = [s for s in firsts if s.seat.kind[0] == ranks]
        variants = {s.fixed for s in alike}
        if fixed not in variants:
            is_new = len(variants) < VARIANTS
        else:
            is_new = all(s.signature != signature for s in alike) and len({s.signature for s in alike}) < ALIKE
        if is_new and len(firsts) < KINDS and (len(self.samples) < self.recorder.limits.samples or self._has_spare()):
            return Seat((ranks, fixed), Why.FIRST, sketch(arrays)), (ranks, fixed)
        if not alike:
            return None, None
        kind = (ranks, fixed if fixed in variants else ANY)
        features = sketch(arrays)
        if self._is_worth(kind, features):
            return Seat(kind, Why.VALUES, features), kind
        return self._late(kind, arrays), kind

    def _late(self, kind: tuple[str, str], arrays: Mapping[str, np.ndarray]) -> Seat | None:
        """A seat for a call whose values add nothing: for some of those of other tests, whose cotangents may be others."""
        group = self._groups.setdefault(kind, _Group())
        if group.test is self.recorder.test:
            return Seat(kind, Why.LATE, sketch(arrays)) if self._waits_for_cotangents(kind) else None
        group.test, group.tests = self.recorder.test, group.tests + 1
        if group.tests > FOLLOWED and self._random.randrange(group.tests) >= LATE:
            return None
        full = len(self.samples) >= self.recorder.limits.samples and not self._of(kind, Why.LATE)
        return None if full else Seat(kind, Why.LATE, sketch(arrays))

    def _waits_for_cotangents(self, kind: tuple[str, str]) -> bool:
        """Has the backward pass of no recorded call run, though a like one might? A test may look at the values first."""
        if len(self.samples) >= self.recorder.limits.samples or len(self._of(kind, Why.LATE)) >= LATE:
            return False
        return not any(s.pulled for s in self.samples if s.seat.kind == kind)

    def settled(self) -> list[Sample]:
        """The recorded calls, but for those that add nothing while their backward pass never ran.

        These are late calls, and a first one beside a like one whose backward pass did.
        """
        ran = {(s.seat.kind, s.signature) for s in self.samples if s.pulled}
        is_first = lambda s: s.seat.why is Why.FIRST and (s.seat.kind, s.signature) not in ran
        return [s for s in self.samples if s.pulled or s.seat.why is Why.VALUES or is_first(s)]

    def keep(self, sample: Sample) -> None:
        """Keep the sample, in the place of another where there is no room."""
        seat: Seat = sample.seat
        if seat.why is Why.LATE:
            self._settle(seat.kind)
        most = {Why.FIRST: KINDS, Why.VALUES: BY_VALUE, Why.LATE: LATE}[seat.why]
        others = self._of(seat.kind, seat.why)
        if seat.why is not Why.FIRST and len(others) >= most:
            self._drop(min(others, key=self._adds))
        elif len(self.samples) >= self.recorder.limits.samples:
            spare = self._spare()
            if spare is None:
                return
            self._drop(spare)
        self._groups.setdefault(seat.kind, _Group()).test = self.recorder.test
        if seat.why is not Why.LATE:
            self._kept_at = self.looked_at
        self.samples.append(sample)
        self.recorder.size += sample.size

    def miss(self, why: str) -> None:
        """Count a call that cannot be recorded."""
        self.missed[why] += 1

    # ---- whose place is another's

    def _of(self, kind: tuple[str, str], why: Why) -> list[Sample]:
        return [s for s in self.samples if s.seat.kind == kind and s.seat.why is why]

    def _adds(self, sample: Sample) -> int:
        """How many features it alone has."""
        others = [s for s in self.samples if s is not sample and s.seat.kind == sample.seat.kind]
        return len(sample.seat.features.difference(*(s.seat.features for s in others)))

    def _is_worth(self, kind: tuple[str, str], features: Features) -> bool:
        """Does a call add features, and is there a place for it, or a call in one that adds fewer?"""
        new = len(features.difference(*(s.seat.features for s in self.samples if s.seat.kind == kind)))
        kept = self._of(kind, Why.VALUES)
        if new and len(kept) < BY_VALUE and (len(self.samples) < self.recorder.limits.samples or self._has_spare()):
            return True
        return bool(kept) and new > min(map(self._adds, kept))

    def _spare(self) -> Sample | None:
        """What makes room for a call of another kind: a late one, or one whose values add least beside the first."""
        late = [s for s in self.samples if s.seat.why is Why.LATE]
        by_value = [s for s in self.samples if s.seat.why is Why.VALUES]
        if late:
            return late[0]
        return min(by_value, key=self._adds) if len(by_value) > 1 else None

    def _has_spare(self) -> bool:
        return self._spare() is not None

    def _drop(self, sample: Sample) -> None:
        self.samples.remove(sample)
        self.recorder.size -= sample.size

    def _settle(self, kind: tuple[str, str]) -> None:
        """Give late calls whose cotangents were of another sort a place of their own."""
        known = self._groups[kind].cotangents
        for sample in (s for s in self.samples if s.seat.kind == kind):
            features = frozenset().union(*map(sketch_of_cotangents, sample.cotangents))
            is_new = not features <= known
            known |= features
            if is_new and sample.seat.why is Why.LATE and len(self._of(kind, Why.VALUES)) < BY_VALUE:
                sample.seat = replace(sample.seat, why=Why.VALUES)


@dataclass(eq=False)
class Hook:
    """A hook that gave other gradients than it was given: how often, and the test where it did so first."""

    definition: Definition
    first: str
    replaced: int = 0


def _log(n: int, base: int) -> int:
    """The exponent of the largest power of `base`, itself a power of two, that is at most n."""
    return (n.bit_length() - 1) // (base.bit_length() - 1)


ANY = "(others)"
"""Stands for other arguments of which there are so many that not each has calls of its own."""


def _without_sizes(signature: str) -> str:
    """The signature with the rank in place of each shape."""
    parts = signature.replace(")", "(").split("(")
    return "|".join(str(p.count(",") + bool(p)) if k % 2 else p for k, p in enumerate(parts))


@dataclass(eq=False)
class Recorder:
    """Everything that one watch met.

    wanted  is a definition watched?
    hooks   those that replaced gradients, by name and line
    """

    wanted: Callable[[Definition], bool] = lambda definition: True
    limits: Limits = Limits()
    _test: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    hooks: dict[tuple[str, str], Hook] = field(default_factory=dict)
    size: int = 0

    @property
    def test(self) -> str:
        """What runs now: the id of a test; "" where there is none, and lines of the program say it."""
        return self._test

    @test.setter
    def test(self, id: str) -> None:
        self._test = id
        for entry in self.entries.values():
            entry.start_test()

    def entry(self, definition: Definition) -> Entry | None:
        """The entry of a definition; None where it is not watched."""
        if definition.name not in self.entries:
            if not self.wanted(definition):
                return None
            self.entries[definition.name] = Entry(definition, self)
        return self.entries[definition.name]

    def replaces(self, definition: Definition) -> None:
        """Note that a hook replaced a gradient."""
        key = (definition.name, definition.backward)
        if key not in self.hooks:
            if not self.wanted(definition):
                return
            self.hooks[key] = Hook(definition, self.place())
        self.hooks[key].replaced += 1

    def place(self, line: str = "") -> str:
        """The test that runs; outside of tests the line of the program that called the framework: `line`, where given."""
        return self.test or line or _line()

    @property
    def samples(self) -> list[Sample]:
        """All recorded calls."""
        return [s for e in self.entries.values() for s in e.settled()]


def _line() -> str:
    """The innermost line outside of gradverify and of installed packages."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if "site-packages" not in file and f"{__package__.split('.')[0]}/" not in file and not file.startswith("<"):
            break
        frame = frame.f_back
    return place(frame)
