"""One result of a report as the formats of CI say it: where, how bad, a title, a sentence, all lines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.outcome import Outcome, Reason
from ..core.wording import GIVEN, in_few_digits
from . import outcomes
from .tally import figure


@dataclass(frozen=True)
class Sentence:
    """What is said of a result.

    heading     "FAIL (wrong)"
    page        "wrong": what `gradverify outcome` calls the page about it; ""
    title       "FAIL (wrong): norm on torch in float32"
    summary     one line: what is wrong, or why nothing is claimed
    text        the summary, the worst entry, the point, the notes
    file, line  where it is written, relative to the working directory with forward slashes; "" and 1 where that is not known
    accepted    why it is acceptable though it gates; ""
    """

    id: str
    outcome: Outcome
    is_ok: bool
    heading: str
    page: str
    title: str
    summary: str
    text: str
    file: str
    line: int
    seconds: float
    accepted: str
    properties: Mapping[str, str]

    @property
    def is_notable(self) -> bool:
        """Is it worth a line where there is room for few?"""
        return not self.is_ok or self.outcome is not Outcome.PASS


def sentence_of(result: Mapping[str, Any]) -> Sentence:
    """What is said of a `result` of the schema."""
    v = result["verdict"]
    outcome = Outcome(v["outcome"])
    kind, reason = v["kind"] or "", v["reason"] or ""
    heading = f"{outcome} ({kind or reason})" if kind or reason else str(outcome)
    unmet = " where another was expected" if not result["ok"] and result["expect"] != "pass" else ""
    title = f"{heading}{unmet}: {v['case'].removesuffix(GIVEN)} on {v['subject']} in {v['dtype']}"
    why = f"{Reason[reason.upper()]}" if reason else ""
    accepted = v.get("accepted", "")
    summary = in_one_line((v["message"] or v["known"] or why) or "within what rounding excuses")
    lines = [title, *(line for line in (v["message"], v["known"], why) if line)]
    lines += [f"accepted: {accepted}"] if accepted else []
    lines += [f"first wrong op: {v['culprit']['text']}"] if v["culprit"] else []
    lines += [_worst(c) for c in v["comparisons"] if c["failing"] and c["worst"]]
    lines += [f"at {v['point']}"] if v.get("point") else []
    lines += [f"note: {note}" for note in v["notes"]]
    file, line = _place(result)
    told = {"share": bool(v["comparisons"]), "power": outcome is Outcome.PASS}
    figures = {key: v[key] for key, is_told in told.items() if is_told and v[key] is not None}
    return Sentence(
        id=result["id"],
        outcome=outcome,
        is_ok=result["ok"],
        heading=heading,
        page=outcomes.name_of(v),
        title=title,
        summary=summary,
        text="\n".join(lines),
        file=file,
        line=line,
        seconds=v["seconds"],
        accepted=accepted,
        properties={
            "outcome": str(outcome), **({"kind": kind} if kind else {}), **({"reason": reason} if reason else {}),
            **({"accepted": accepted} if accepted else {}), **{k: f"{figure(x):.3g}" for k, x in figures.items()},
        },
    )  # fmt: skip


def in_one_line(text: str) -> str:
    """The lines of a text as one: what a line says ends there, with a full stop where it has none."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " ".join(
        [*(line if line.endswith((".", ":", ";", ",")) else f"{line}." for line in lines[:-1]), *lines[-1:]]
    )


def _worst(c: Mapping[str, Any]) -> str:
    e = c["worst"]
    got, want = in_few_digits(e["got"], e["want"])
    where = f"{e['of']}{e['index']}" if e["index"] else e["of"]
    return (
        f"{where}: got {got}, want {want}, off by {figure(e['error']):.2g} where rounding excuses "
        f"{figure(e['budget']):.2g}; {c['failing']} of {c['size']} are off"
    )


def _place(result: Mapping[str, Any]) -> tuple[str, int]:
    """The file and line of the spec or, of a function, of its backward pass."""
    source = result["source"]
    file, line = source["file"] or "", source["line"] or 1
    if not file:
        file, _, number = result["verdict"]["source"].rpartition(":")
        line = int(number) if number.isdecimal() else 1
    if not file or file.startswith("<"):
        return "", 1
    if os.path.isabs(file):
        near = os.path.relpath(file)
        file = file if near.startswith(os.pardir) else near
    return file.replace(os.sep, "/"), max(line, 1)
