"""What a verdict says: five short lines for the screen, and all evidence for a file.

The five lines, each left out where there is nothing to say:

    FAIL (wrong): RMSNorm on torch in float32 (ops.py:12)
    dx lacks the term that comes through mean(square(x)) at ops.py:8
      dx[0, 6]: got 1.69747, want 0.134269 ± 3e-06; 32 of 32 are off
    at x = float32[4, 8], weight = float32[8]
    more: .gradverify/RMSNorm-55d8fd62/report.txt (and reproduce.py)

What is judged stands first, the sentence that says what is wrong second, and then the entry that is off most, beside what
rounding excuses. Lines are wrapped at 79 columns.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .outcome import FailKind, Outcome, Reason

if TYPE_CHECKING:
    from .verdict import Comparison, Element, Verdict

WIDTH = 79
"""Columns of a line; longer words are left whole."""

GIVEN = ", as given"
"""How cases at the point that the user gave are called: no news on a screen."""

SHOWN = 6
"""Numbers of a point that are printed; of a larger array dtype and shape are."""


def headline(v: Verdict, source: str = "", unmet: str = "") -> str:
    """The first line: outcome and what was judged."""
    kind = f" ({v.kind})" if v.kind else ""
    where = source or (v.source if ":" in v.source and not v.source.startswith("<") else "")
    case = v.case.removesuffix(GIVEN)
    on = f"{',' if ', ' in case else ''} on {v.subject} in {v.dtype}" if v.subject else ""
    unmet += ", accepted" if v.accepted else ""
    return f"{v.outcome}{kind}{unmet}: {case}{on}" + (f" ({where})" if where else "")


def page_name(outcome: Outcome, kind: FailKind | None, reason: Reason | None) -> str:
    """The name of the page that says what to do about an outcome: `gradverify outcome wrong`."""
    if outcome is Outcome.FAIL and kind is not None:
        return str(kind)
    return reason.name.lower() if reason is not None else str(outcome).lower()


def glance(v: Verdict, *, source: str = "", unmet: str = "", more: str = "", width: int = WIDTH) -> list[str]:
    """The verdict in five lines; a long sentence takes two.

    source  where it is written, if the verdict does not know ("kernels.grad.yaml:8")
    unmet   what its author expected instead
    more    the file that holds the rest
    width   columns of a line
    """
    if v.outcome is Outcome.PASS and not unmet:
        return wrapped(f"{headline(v, source)}: {v.describe_power()}", width)
    worst = _worst(v)
    message = v.message if worst is None else _without_size(v.message, worst[0])
    texts = [headline(v, source, unmet), message]
    texts += [f"accepted: {v.accepted}"] if v.accepted else []
    texts += [f"first wrong op: {v.culprit.text}"] if v.culprit is not None else []
    texts += [f"reason: {v.reason}"] if v.reason else []
    texts += [f"known weakness of {v.subject}: {v.known}"] if v.known else []
    lines = [line for text in texts if text for line in wrapped(text, width)]
    if worst is not None:
        compact = _compact(*worst, excused=message != v.message)
        lines += [f"  {line}" for line in wrapped(compact, width - 2)]
    if v.point:
        lines += wrapped(f"at {v.point}", width)
    return [*lines, f"more: {more}"] if more else lines


SIZE = (
    r"(?:^|(?<=[:,] )|(?<=\n)){} is off by \S+(?: \(\S+ relative\))?, "
    r"(?:where rounding in \w+ excuses \S+?|\S+ times what rounding in \w+ excuses)(?:\. |; )(?=.)"
)
"""The part of a message that says how far an entry is off, where more follows it."""


def _without_size(message: str, e: Element) -> str:
    """The message without the size of the error, where it says more than that: got, want and budget stand below it."""
    return re.sub(SIZE.format(re.escape(e.where)), "", message, count=1)


def evidence(v: Verdict, *, source: str = "", unmet: str = "") -> Iterator[str]:
    """Everything: the five lines, each array's worst entry, the branches, the graph, the spec, the script and the notes."""
    yield from glance(v, source=source, unmet=unmet)
    for comparison in v.comparisons:
        yield from _comparison(comparison, v.dtype)
    if v.coverage is not None and v.coverage.branches and v.outcome is not Outcome.PASS:
        yield str(v.coverage)
    c = v.culprit
    yield from _part("graph", (c.reduced if c else "") or v.graph)
    yield from _part("spec: paste it into a .grad.yaml file", (c.spec if c else "") or v.spec)
    yield from _part("stand-alone reproducer", (c.script if c else "") or v.script)
    yield from (f"note: {note}" for note in v.notes)
    if v.outcome is not Outcome.PASS:
        yield f"what to do: gradverify outcome {page_name(v.outcome, v.kind, v.reason)}"


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """The text in lines of at most `width` columns; words, and what a line break in the text parts, stay whole."""
    return [
        line
        for part in text.splitlines()
        for line in textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def point_of(values: Mapping[str, Any]) -> str:
    """The values of a point: `x = [0.3, 0.5], w = float32[64, 8]`."""
    return ", ".join(f"{name} = {_array(value)}" for name, value in values.items())


def _array(value: Any) -> str:
    if 0 < value.size <= SHOWN and not getattr(value.dtype, "names", None):
        return _numbers(value.tolist())
    return f"{value.dtype}{list(value.shape)}"


def _numbers(value: Any) -> str:
    return f"[{', '.join(map(_numbers, value))}]" if isinstance(value, list) else repr(value)


def _worst(v: Verdict) -> tuple[Element, Comparison] | None:
    """The entry that is off most, as a share of its budget, and the array that it is in."""
    failing = [c for c in v.comparisons if c.failing and c.worst is not None]
    found = max(failing, key=lambda c: c.share, default=None)
    return (found.worst, found) if found is not None and found.worst is not None else None


def _compact(e: Element, c: Comparison, excused: bool = False) -> str:
    """An entry in one line; with what rounding excuses, if that is not said elsewhere."""
    got, want = in_few_digits(e.got, e.want)
    many = f"; {c.failing} of {c.size} are off" if c.failing > 1 else ""
    return f"{e.where}: got {got}, want {want}{f' ± {e.budget:.1g}' if excused else ''}{many}"


def in_few_digits(got: str, want: str) -> tuple[str, str]:
    """Two numbers with as many digits as tell them apart, and two more."""
    try:
        a, b = float(got), float(want)
    except ValueError:
        return got, want
    for digits in range(4, 16):  # doubles have no more
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            return f"{a:.{digits + 2}g}", f"{b:.{digits + 2}g}"
    return got, want


def _comparison(c: Comparison, dtype: str) -> Iterator[str]:
    if not c.failing:
        return
    yield f"{c.failing} of {c.size} entries of {c.of} {'is' if c.failing == 1 else 'are'} off" + (
        "; the worst:" if c.failing > 1 else ":"
    )
    if c.worst:
        yield from _element(c.worst, dtype)


def _element(e: Element, dtype: str) -> Iterator[str]:
    yield f"  {e.where}"
    yield f"    got     {e.got}"
    yield f"    want    {e.want}"
    yield f"    error   {e.error:.3g} = {e.error_ulps:.4g} ulp"
    yield f"    budget  {e.budget:.3g} = {e.budget_ulps:.4g} ulp, all that rounding in {dtype} excuses"
    yield f"    oracle  right to within {e.bound:.1g}"


def _part(title: str, body: str) -> Iterator[str]:
    if body:
        yield f"--- {title}"
        yield body.rstrip()
