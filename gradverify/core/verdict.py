"""The verdict: an outcome with its evidence. Plain frozen data; it pickles and turns into JSON."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from .errors import MOST_TEXT, clipped
from .outcome import FailKind as FailKind
from .outcome import Outcome as Outcome
from .outcome import Reason as Reason
from .wording import WIDTH, evidence, glance, headline


@dataclass(frozen=True, slots=True)
class Element:
    """One compared entry of a gradient, or of the forward value; numbers as text of up to 20 digits.

    `error`, `bound` and `budget` are absolute; `error_ulps` and `budget_ulps` are in ulps of `want` in the dtype.
    """

    of: str
    index: tuple[int, ...]
    got: str
    want: str
    error: float
    bound: float
    budget: float
    error_ulps: float
    budget_ulps: float

    @property
    def where(self) -> str:
        return f"{self.of}[{', '.join(map(str, self.index))}]" if self.index else self.of

    def __str__(self) -> str:
        return (
            f"{self.where}: got {self.got}, want {self.want}; off by {self.error:.3g} = {self.error_ulps:.3g} ulp, "
            f"rounding excuses {self.budget:.3g} = {self.budget_ulps:.3g} ulp, oracle bound {self.bound:.1g}"
        )


@dataclass(frozen=True, slots=True)
class ErrorMap:
    """The errors of an array that fails, as shares of their budgets: a picture for reports.

    shape    of the array
    rows     the picture: the last axis across, all others down; a cell has the largest share of its entries
    entries  the worst failing entries, the worst first
    """

    shape: tuple[int, ...]
    rows: tuple[tuple[float, ...], ...]
    entries: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One array compared whole: the gradient of one input, or one output.

    worst      the entry with the largest error as a share of its budget
    share      that share (1 = all that rounding excuses)
    power      the smallest relative error of any single entry that would have been caught (the least resolved entry
               decides); nan where there is no such entry. Zeros, and entries of which rounding leaves no digit, have
               no relative error: the latter are counted in `unresolved`
    power_typical  the same for the median entry
    unresolved how many non-zero entries rounding in the dtype leaves no digit of
    failing    how many entries failed, of `size`
    errors     where they are; None where none failed
    """

    of: str
    size: int
    failing: int = 0
    worst: Element | None = None
    share: float = 0.0
    power: float = math.nan
    power_typical: float = math.nan
    unresolved: int = 0
    errors: ErrorMap | None = None


@dataclass(frozen=True, slots=True)
class Formula:
    """What the backward pass comes to in exact arithmetic, held against the truth.

    right  None where it could not be evaluated; `why` says why not
    power  the smallest relative error of any single entry that would have been seen; nan where all of them are zero
    error  of a wrong one: the largest error of an entry, relative to the entry
    worst  of a wrong one: that entry; `got` is what the backward pass comes to
    """

    right: bool | None
    power: float = math.nan
    error: float = 0.0
    worst: Element | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The branches of a backward pass: on which of them both sides were asked.

    branches     comparisons, clamps and maxima that depend on what is differentiated
    taken        those that some probe took on both sides
    open         those of which one side was never taken
    unreachable  those of which one side no value can take
    """

    branches: int
    taken: int
    open: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"branches of the backward pass: {self.taken} of {self.branches} taken on both sides"]
        parts += [f"not taken: {', '.join(self.open)}"] if self.open else []
        parts += [f"unreachable: {', '.join(self.unreachable)}"] if self.unreachable else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Culprit:
    """The op whose VJP is wrong: the first one, seen from the output, that turns a right adjoint into a wrong one."""

    node: int
    op: str
    argument: int
    text: str
    reduced: str = ""
    spec: str = ""
    script: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A node of a drawn graph.

    label  what it is called: an input's name, `%3`
    call   what it computes: `sum(%2, axis=0)`
    args   the places of its arguments in the drawing
    shape  of its value
    site   the user's line, "ops.py:12"; "" where that is not known
    lost   the decimal digits that rounding loses in this step alone
    """

    label: str
    call: str
    args: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    site: str = ""
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph as reports draw it: its steps in order, and the places of the outputs and of the first wrong step."""

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    wrong: int | None = None


HTML = '<pre style="font-family: monospace; line-height: 1.4">{code}</pre>'


@dataclass(frozen=True, repr=False)
class Verdict:
    """The judgement of one case on one subject. `bool(verdict)` is that of its outcome, or true where it is accepted.

    kind    what sort of fault was found, of FAIL and KNOWN
    reason  of INCONCLUSIVE
    coverage  of the branches of a custom backward pass, if they were looked for
    source  where the case, or the backward pass, is written: "ops.py:12"
    point   the values that it was judged at, as text
    accepted  why the project accepts it, by whom and until when (`run.deviations`); "" where it does not
    forward  the graph that was judged, where something is wrong or loses digits; `backward`: its traced backward pass
    known   of KNOWN: the declared weakness of the subject (`frameworks.base.Form`) that explains the fault in full
    """

    outcome: Outcome
    case: str
    subject: str
    dtype: str
    kind: FailKind | None = None
    reason: Reason | None = None
    message: str = ""
    comparisons: tuple[Comparison, ...] = ()
    graph: str = ""
    spec: str = ""
    script: str = ""
    culprit: Culprit | None = None
    formula: Formula | None = None
    coverage: Coverage | None = None
    source: str = ""
    point: str = ""
    seconds: float = 0.0
    known: str = ""
    notes: tuple[str, ...] = ()
    accepted: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    forward: Drawing | None = None
    backward: Drawing | None = None

    def __post_init__(self) -> None:
        if len(self.message) > 2 * MOST_TEXT:  # judged code raises what it likes
            object.__setattr__(self, "message", clipped(self.message, 2 * MOST_TEXT))

    def __bool__(self) -> bool:
        return bool(self.outcome) or bool(self.accepted)

    @property
    def status(self) -> Outcome:
        """Deprecated: the name of `outcome` before outcomes had one name each."""
        warnings.warn("Verdict.status is called outcome now", DeprecationWarning, stacklevel=2)
        return self.outcome

    @property
    def power(self) -> float:
        """The smallest relative error that would have been caught, by the formula if it was evaluated, else by values."""
        return self.formula.power if self.formula and self.formula.right else self.power_of_values

    @property
    def power_of_values(self) -> float:
        """Of its gradients, the largest of the smallest relative errors caught; nan where nothing was resolved."""
        powers = [c.power for c in self.comparisons if c.of.startswith("d") and not math.isnan(c.power)]
        return max(powers, default=math.nan)

    @property
    def share(self) -> float:
        """The worst error as a share of its budget."""
        return max((c.share for c in self.comparisons), default=0.0)

    def describe_power(self) -> str:
        """How far a PASS reaches: that of the formula, where it was evaluated, and that of the values.

        Where there is none, why not; where the function was held against differences of itself, what would reach farther.
        """
        caught = (
            ""
            if math.isnan(self.power_of_values)
            else (f"; would have caught a relative error of {self.power_of_values:.1e}")
        )
        values = f"worst error {self.share:.0%} of its budget{caught}"
        if self.coverage is not None and self.coverage.branches:
            values += f"; {self.coverage}"
        if "directions" in self.facts:
            better = ["a reference=", *["float64"] * (self.dtype != "float64")]
            better += ["a higher effort="] * bool(self.facts.get("more_calls_would_help"))
            return f"by {_describe_looks(self.facts)}: {values}; {' or '.join(better)} would raise the power"
        if self.formula is not None and self.formula.right is None and self.formula.why:
            return f"by values alone, as the backward pass was not evaluated exactly ({self.formula.why}): {values}"
        if self.formula is None or not self.formula.right:
            return values
        reach = "" if math.isnan(self.formula.power) else f" to {self.formula.power:.1e}"
        return f"the formula is right{reach}; values: {values}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and YAML (the report schema's `verdict`)."""

        def plain(value: Any) -> Any:
            if isinstance(value, Enum):
                return value.name.lower() if isinstance(value, Reason) else value.value
            if isinstance(value, dict):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, list | tuple):
                return [plain(v) for v in value]
            if isinstance(value, float) and not math.isfinite(value):
                return None if math.isnan(value) else str(value)
            return value

        data: dict[str, Any] = plain(asdict(self))
        data["power"], data["power_of_values"] = plain(self.power), plain(self.power_of_values)
        data["share"] = plain(self.share)
        return data

    def text(self) -> str:
        """The verdict in five lines; in one where it is PASS."""
        return "\n".join(glance(self))

    def evidence(self) -> str:
        """The verdict with all that is known: every array's worst entry, the graph, the spec, the script, the notes."""
        return "\n".join(evidence(self))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{headline(self)}>"

    def __rich__(self) -> Any:
        """The five lines, in the colour of the outcome: for rich consoles and notebooks."""
        from rich.text import Text

        head, *rest = glance(self)
        return Text("\n").join([Text(head, style=self.outcome.style), *map(Text, rest)])

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        from io import StringIO

        from rich.console import Console

        console = Console(file=StringIO(), record=True, width=WIDTH, force_jupyter=False)
        console.print(self, soft_wrap=True)
        return console.export_html(inline_styles=True, code_format=HTML)


def _describe_looks(facts: Mapping[str, Any]) -> str:
    """How a function without a definition was looked at, and by how many calls of it."""
    looks = [f"{facts['directions']} random directions" if facts["directions"] != 1 else "one random direction"]
    if facts.get("groups"):
        looks.append(f"{facts['groups']} of the smallest entries")
    if "entries" in facts:
        looks.append(f"{facts['alone']} of {facts['entries']:,} entries by themselves")
    calls = f"; {facts['calls']:,} forward calls of at most {facts['most_calls']:,}" if "calls" in facts else ""
    return f"differences of the function itself ({', '.join(looks)}{calls})"
