"""The outcomes of a judgement, with kind and reason; the gate that lets them through, and the tally that counts them.

Every face asks the same gate: the pytest plugin, the command line, the drop-ins, `assert_gradients`, campaigns and
conformance. What gates is a `GatePolicy`, in a little syntax:

    fail, inconclusive          outcomes, separated by commas or spaces
    fail:wrong, fail:law        an outcome of one kind only (`FailKind`)
    default                     what gates by default: fail
    all                         all outcomes but PASS
    none                        nothing gates: a run that only looks
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from .errors import BadInput, NoRule, UnknownName, Unsupported


class Outcome(Enum):
    """The six outcomes; a crash of gradverify itself is none of them: it raises.

    PASS          within the budget
    KNOWN         a formula that the framework declares explains the loss to the last digit
    WEAK          the formula is right, and digits are lost that need not be
    SURROGATE     the true derivative is zero almost everywhere, and the rule is not: meant, as a rule
    FAIL          wrong, non-finite, of another structure, against a law, …: see `FailKind`
    INCONCLUSIVE  nothing is claimed, for a `Reason`

    `letter` stands for the outcome in a line of progress. `bool(outcome)` is false for FAIL and INCONCLUSIVE.
    """

    PASS = "PASS"
    KNOWN = "KNOWN"
    WEAK = "WEAK"
    SURROGATE = "SURROGATE"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def letter(self) -> str:
        return _TABLE[self].letter

    @property
    def style(self) -> str:
        """How rich writes it."""
        return _TABLE[self].style

    @property
    def gates(self) -> bool:
        """Does this outcome gate by default?"""
        return _TABLE[self].gates

    def __bool__(self) -> bool:
        return _TABLE[self].is_true

    def __str__(self) -> str:
        return str(self.value)

    @property
    def has_kind(self) -> bool:
        """Do its verdicts have a kind of fault? Those of KNOWN do: the fault is explained, not absent."""
        return self in (Outcome.FAIL, Outcome.KNOWN)


class _Row(NamedTuple):
    letter: str
    gates: bool
    is_true: bool
    style: str


_TABLE = {
    Outcome.PASS: _Row(".", gates=False, is_true=True, style="green"),
    Outcome.KNOWN: _Row("k", gates=False, is_true=True, style="yellow"),
    Outcome.WEAK: _Row("w", gates=False, is_true=True, style="yellow"),
    Outcome.SURROGATE: _Row("S", gates=False, is_true=True, style="yellow"),
    Outcome.FAIL: _Row("F", gates=True, is_true=False, style="bold red"),
    Outcome.INCONCLUSIVE: _Row("I", gates=False, is_true=False, style="yellow"),
}


class FailKind(Enum):
    """The kind of fault that was found; a gate may admit one kind.

    DETACHED: the gradient is right only with the detached values constant, and no option says that this is meant.
    CLAIM: the gradient that the case's author claims is the wrong one.
    """

    WRONG = "wrong"
    PRECISION = "precision"
    NON_FINITE = "non-finite"
    STRUCTURE = "structure"
    LAW = "law"
    RAISED = "raised"
    DETACHED = "detached"
    CLAIM = "claim"

    def __str__(self) -> str:
        return self.value


class Reason(Enum):
    """Why a verdict is INCONCLUSIVE. The value is the help text."""

    KINK = "the point lies on a kink, and the answer is none of the one-sided derivatives nor the declared convention"
    BRANCH = "a branch (a mask, an argmax, a tie) may flip within rounding of this dtype, and the answer depends on it"
    ORACLE = "the oracle could not enclose the true gradient tightly enough to decide; the case is too ill-conditioned"
    CONDITION = "rounding in this dtype alone can change the gradient by more than its size: no digit is left to check"
    RANGE = "an intermediate value overflows or underflows in this dtype, though the true gradient is finite"
    DOMAIN = "the point lies outside the domain of an op, so there is no gradient to compare with"
    UNTRACED = "the function cannot be traced to a graph, so it has no definition; a reference= gives it one"
    NO_RULE = "an operation has no derivative rule in the mode, or over the numbers, that it is asked for"
    NO_KERNEL = "the oracle has no kernel for an operation, so it cannot say what the true gradient is"
    SUBJECT = "the subject cannot run this case: it lacks an operation, the dtype, or what a law asks for"
    UNAVAILABLE = "the subject is not installed, or its device is not there"
    NOT_CALLED = "the case calls a function by its name, and this run imports nothing that a file names"

    def __str__(self) -> str:
        return self.value

    @property
    def is_unsupported(self) -> bool:
        """Was there nothing to judge, rather than a judgement that stays open?"""
        return self in _UNSUPPORTED


_UNSUPPORTED = frozenset({
    Reason.UNTRACED, Reason.NO_RULE, Reason.NO_KERNEL, Reason.SUBJECT, Reason.UNAVAILABLE, Reason.NOT_CALLED,
})  # fmt: skip


def reason_of(e: Unsupported, default: Reason) -> Reason:
    """The reason that a verdict gives for an exception; `default` where its type says nothing."""
    return Reason.NO_RULE if isinstance(e, NoRule) else default


Term = tuple[Outcome, FailKind | None]
"""An outcome that gates, of one kind or (None) of every kind."""

_WORDS: dict[str, frozenset[Term]] = {
    "default": frozenset((o, None) for o in Outcome if o.gates),
    "all": frozenset((o, None) for o in Outcome if o is not Outcome.PASS),
    "none": frozenset(),
}


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """Which outcomes gate, that is, make a run fail: `terms`, or under `strict` everything but PASS."""

    terms: frozenset[Term] = _WORDS["default"]
    strict: bool = False

    @classmethod
    def of(cls, fail_on: str | Iterable[str] | None = None, *, strict: bool = False) -> GatePolicy:
        """Parse the syntax of this module's docstring. Raises UnknownName and BadInput; None is the default."""
        if fail_on is None:
            return cls(strict=strict)
        words = [fail_on] if isinstance(fail_on, str) else fail_on
        terms: set[Term] = set()
        for word in (w for text in words for w in text.replace(",", " ").split()):
            terms |= _terms(word.lower())
        return cls(frozenset(terms), strict)

    def gate(self, outcome: Outcome, kind: FailKind | None = None) -> bool:
        """Does this outcome make the run fail?"""
        if self.strict:
            return outcome is not Outcome.PASS
        return (outcome, None) in self.terms or (outcome, kind) in self.terms

    def __str__(self) -> str:
        """The policy in its own syntax."""
        if self.strict or self.terms == _WORDS["all"]:
            return "all"
        named = sorted(str(o).lower() + (f":{k}" if k else "") for o, k in self.terms)
        return ", ".join(named) or "none"


def _terms(word: str) -> frozenset[Term]:
    if word in _WORDS:
        return _WORDS[word]
    name, colon, kind = word.partition(":")
    outcomes = {str(o).lower(): o for o in Outcome if o is not Outcome.PASS}
    if name == "pass":
        raise BadInput("fail_on: a PASS never gates")
    if name not in outcomes:
        raise UnknownName("outcome", name, [*outcomes, *_WORDS])
    if not colon:
        return frozenset({(outcomes[name], None)})
    kinds = {str(k): k for k in FailKind}
    if not outcomes[name].has_kind:
        raise BadInput(f"fail_on: {name} has no kinds, got {word!r}")
    if kind not in kinds:
        raise UnknownName("kind of failure", kind, kinds)
    return frozenset({(outcomes[name], kinds[kind])})


DEFAULT = GatePolicy()
"""What gates where nothing is said."""

ASSERTION = GatePolicy(frozenset((o, None) for o in Outcome if not o))
"""What an assertion about one function lets through: the outcomes that are true. Drop-ins and `assert_gradients` ask it."""


@dataclass
class Tally:
    """Outcomes, counted.

    outcomes  how many there are of each
    kinds     of FAIL and KNOWN
    reasons   of INCONCLUSIVE
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kinds: Counter[FailKind] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)

    def add(self, outcome: Outcome, kind: FailKind | None = None, reason: Reason | None = None) -> None:
        self.outcomes[outcome] += 1
        if kind is not None:
            self.kinds[kind] += 1
        if reason is not None:
            self.reasons[reason] += 1

    def __iadd__(self, other: Tally) -> Tally:
        """Add the counts of another tally."""
        self.outcomes += other.outcomes
        self.kinds += other.kinds
        self.reasons += other.reasons
        return self

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes[outcome]

    @property
    def total(self) -> int:
        return self.outcomes.total()

    @property
    def unsupported(self) -> int:
        """The number of outcomes without anything to judge."""
        return sum(n for reason, n in self.reasons.items() if reason.is_unsupported)

    @property
    def open(self) -> int:
        """The number of INCONCLUSIVE that were judged and stay open."""
        return self[Outcome.INCONCLUSIVE] - self.unsupported

    @property
    def judged(self) -> int:
        """The number of outcomes with something to judge."""
        return self.total - self.unsupported

    def to_text(self) -> str:
        """`"3 PASS, 1 KNOWN"`, in the order of the outcomes, without those that do not occur."""
        return ", ".join(f"{self[o]} {o}" for o in Outcome if self[o])
