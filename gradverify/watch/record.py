"""What a watch keeps: per definition a bounded number of real calls, chosen for diversity."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..frameworks.watching import Definition, Sample
from ..trace.call_site import place

EAGER = 16
"""Executions of a definition in each test that are all looked at; of later ones those whose number is a power of two, so
that a call that runs a million times is looked at twenty times more."""

VARIANTS = 6
"""Recorded calls of one definition that differ in arguments that are no arrays (a mode, an axis): each may take another path
through the rule. No more, since such an argument may be a number that is drawn anew for each call."""

ALIKE = 4
"""Signatures of one definition that differ in sizes alone: same ranks, dtypes and flags."""


@dataclass(frozen=True)
class Limits:
    """What a watch may keep and spend.

    samples  recorded calls of one definition
    bytes    that one recorded call, and all of them, may take
    """

    samples: int = 12
    bytes_each: int = 2**24
    bytes_all: int = 2**28


class Entry:
    """What is known of one definition.

    executed         how often it ran
    undifferentiated how often nothing asked for its gradient: under no_grad, or none of its arguments requires grad
    missed           how often a call could not be recorded, by the reason
    samples          the recorded calls
    """

    def __init__(self, definition: Definition, recorder: Recorder) -> None:
        self.definition, self.recorder = definition, recorder
        self.executed = 0
        self.undifferentiated = 0
        self.missed: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self._test: object = None
        self._since = 0

    def is_due(self) -> bool:
        """Is this execution looked at?"""
        if self._test is not self.recorder.test:
            self._test, self._since = self.recorder.test, 0
        self._since += 1
        return self._since <= EAGER or self._since & (self._since - 1) == 0

    def wants(self, signature: str, fixed: str, size: int) -> bool:
        """Does a call of this signature add anything, and is there room?"""
        limits = self.recorder.limits
        if size > limits.bytes_each or self.recorder.size + size > limits.bytes_all:
            self.missed["it is too large, or the memory for records is used up"] += 1
            return False
        if len(self.samples) >= limits.samples:
            return False
        kind = _without_sizes(signature)
        alike = [s for s in self.samples if _without_sizes(s.signature) == kind]
        variants = {s.fixed for s in alike}
        if fixed not in variants:
            return len(variants) < VARIANTS
        return all(s.signature != signature for s in alike) and len({s.signature for s in alike}) < ALIKE

    def keep(self, sample: Sample) -> None:
        """Keep the sample."""
        self.samples.append(sample)
        self.recorder.size += sample.size

    def miss(self, why: str) -> None:
        """Count a call that cannot be recorded."""
        self.missed[why] += 1


def _without_sizes(signature: str) -> str:
    """The signature with the rank in place of each shape."""
    parts = signature.replace(")", "(").split("(")
    return "|".join(str(p.count(",") + bool(p)) if k % 2 else p for k, p in enumerate(parts))


@dataclass(eq=False)
class Recorder:
    """Everything that one watch met.

    wanted  is a definition watched?
    test    what runs now: the id of a test; "" where there is none, and lines of the program say it
    """

    wanted: Callable[[Definition], bool] = lambda definition: True
    limits: Limits = Limits()
    test: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    size: int = 0

    def entry(self, definition: Definition) -> Entry | None:
        """The entry of a definition; None where it is not watched."""
        if definition.name not in self.entries:
            if not self.wanted(definition):
                return None
            self.entries[definition.name] = Entry(definition, self)
        return self.entries[definition.name]

    def place(self) -> str:
        """The test that runs, or the line of the program that a framework was called from."""
        return self.test or _line()

    @property
    def samples(self) -> list[Sample]:
        """All recorded calls."""
        return [s for e in self.entries.values() for s in e.samples]


def _line() -> str:
    """The innermost line outside of gradverify and of installed packages."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if "site-packages" not in file and f"{__package__.split('.')[0]}/" not in file and not file.startswith("<"):
            break
        frame = frame.f_back
    return place(frame)
