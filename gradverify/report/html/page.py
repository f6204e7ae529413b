"""From the plain data of a run to what the template writes: rows, details, drawings, histograms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.outcome import Outcome
from ...core.wording import in_few_digits
from .. import outcomes as pages
from ..tally import figure
from .guide import Guide, guides, place_of
from .layout import Layout, laid_out
from .plots import Plots

MOST_ROWS = 5_000
"""Results in the table, all that are no PASS before others: a browser filters these at once."""

MOST_DETAILS = 100
"""Results with drawings: about 40 kB and a tenth of a second each."""

MOST_TEXT = 20_000
"""Characters of a script or a spec: a longer one, of a large array, is in the JSON report."""

PASS = str(Outcome.PASS)

DRAWN = (str(Outcome.FAIL), str(Outcome.KNOWN), str(Outcome.WEAK))


@dataclass(frozen=True)
class Entry:
    where: str
    got: str
    want: str
    error: str
    budget: str
    bound: str


@dataclass(frozen=True)
class Array:
    """An array that fails: its picture, and its worst entries."""

    name: str
    words: str
    picture: str
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Detail:
    """All that is known of one result."""

    sentences: Sequence[str]
    facts: Sequence[tuple[str, str]]
    forward: Layout | None
    backward: Layout | None
    backward_words: str
    arrays: Sequence[Array]
    script: str
    spec: str
    graph: str
    notes: Sequence[str]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Titles and texts that may be copied."""
        named = (
            ("Stand-alone reproducer", self.script),
            ("Spec: paste it into a .grad.yaml file", self.spec),
            ("Graph", self.graph),
        )
        return [(title, text) for title, text in named if text]


@dataclass(frozen=True)
class Result:
    """A row of the table. `place` names it in links, `guide` the page about its outcome, if there is one.

    `share` and `power` are sorted by, and said as text.
    """

    place: str
    id: str
    subject: str
    dtype: str
    outcome: str
    kind: str
    is_ok: bool
    share: float
    power: float
    seconds: float
    accepted: str
    guide: str
    detail: Detail | None

    @property
    def share_text(self) -> str:
        return "–" if math.isnan(self.share) else f"{self.share:.2g}"

    @property
    def power_text(self) -> str:
        return "–" if math.isnan(self.power) else f"{self.power:.1e}"


@dataclass(frozen=True)
class Page:
    title: str
    verdict: str
    is_ok: bool
    facts: Sequence[tuple[str, str]]
    outcomes: Sequence[tuple[str, int]]
    summary: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    results: Sequence[Result]
    left_out: int
    undrawn: int
    guides: Sequence[Guide]
    errors: Sequence[Mapping[str, str]]
    shares: str
    powers: str

    @property
    def subjects(self) -> list[str]:
        return sorted({r.subject for r in self.results})

    @property
    def dtypes(self) -> list[str]:
        return sorted({r.dtype for r in self.results})

    @property
    def details(self) -> list[Result]:
        return [r for r in self.results if r.detail is not None]


def page_of(data: Mapping[str, Any]) -> Page:
    """The page of a run, from data in the shape of `schema.json`."""
    every = sorted(data["results"], key=_urgency)
    shown = every[:MOST_ROWS]
    wanted = [r for r in shown if not r["ok"] or r["verdict"]["outcome"] in DRAWN]
    drawn = {id(r) for r in wanted[:MOST_DETAILS]}
    counts = Counter(r["verdict"]["outcome"] for r in every)
    refused = sum(not r["ok"] for r in every)
    settings = data["settings"]
    facts = [
        ("gradverify", data["gradverify"]),
        ("judged in", f"{data['seconds']:.1f} s"),
        ("what gates", settings["fail_on"]),
        ("seed", str(settings["seed"])),
        ("device", settings["device"]),
    ]
    outcomes = [(str(o), counts[str(o)]) for o in Outcome if counts[str(o)]]
    plots = Plots()
    return Page(
        title="gradverify",
        verdict=_verdict(data, len(every), refused),
        is_ok=data["ok"],
        facts=facts,
        outcomes=outcomes,
        summary=data["summary"],
        columns=[name for name, _ in outcomes],
        results=[_result(i, r, plots if id(r) in drawn else None) for i, r in enumerate(shown)],
        left_out=len(every) - len(shown),
        undrawn=max(len(wanted) - MOST_DETAILS, 0),
        guides=guides({pages.name_of(r["verdict"]) for r in shown if not r["ok"] or r["verdict"]["outcome"] != PASS}),
        errors=data["errors"],
        shares=_histogram(plots, every, "share", "error of a PASS, as a share of its budget"),
        powers=_histogram(plots, every, "power", "smallest relative error that a PASS would have caught"),
    )


def _verdict(data: Mapping[str, Any], judged: int, refused: int) -> str:
    parts = [f"{refused} of {judged} gradients are not acceptable" if refused else f"all {judged} are acceptable"]
    parts += [f"{len(data['errors'])} could not be judged"] if data["errors"] else []
    parts += ["the run was interrupted"] if data["interrupted"] else []
    return "; ".join(parts) if judged else "no gradient was judged"


_ORDER = (Outcome.FAIL, Outcome.KNOWN, Outcome.WEAK, Outcome.SURROGATE, Outcome.INCONCLUSIVE, Outcome.PASS)


def _urgency(result: Mapping[str, Any]) -> tuple[bool, int]:
    return result["ok"], _ORDER.index(Outcome(result["verdict"]["outcome"]))


def _histogram(plots: Plots, results: Sequence[Mapping[str, Any]], key: str, label: str) -> str:
    groups: dict[str, list[float]] = {}
    for r in results:
        if r["verdict"]["outcome"] == str(Outcome.PASS):
            groups.setdefault(r["dtype"], []).append(figure(r["verdict"][key]))
    return plots.histogram(dict(sorted(groups.items())), label, f"Histogram by dtype: {label}")


def _result(number: int, r: Mapping[str, Any], plots: Plots | None) -> Result:
    v = r["verdict"]
    return Result(
        place=f"r{number}",
        id=r["id"],
        subject=r["subject"],
        dtype=r["dtype"],
        outcome=v["outcome"],
        kind=v["kind"] or v["reason"] or "",
        is_ok=r["ok"],
        share=figure(v["share"]) if v["comparisons"] or v["outcome"] == str(Outcome.PASS) else math.nan,
        power=figure(v["power"]) if v["outcome"] == str(Outcome.PASS) else math.nan,
        seconds=v["seconds"],
        accepted=v.get("accepted", ""),
        guide=place_of(name) if (name := pages.name_of(v)) else "",
        detail=None if plots is None else _detail(r, plots),
    )


def _detail(r: Mapping[str, Any], plots: Plots) -> Detail:
    v, source = r["verdict"], r["source"]
    culprit = v["culprit"] or {}
    sentences = [v["message"]] if v["message"] else []
    sentences += [f"First wrong op: {culprit['text']}"] if culprit else []
    sentences += [f"Known weakness of {v['subject']}: {v['known']}"] if v["known"] else []
    where = f"{source['file']}:{source['line']}" if source["file"] and source["line"] else v["source"]
    facts = [("written at", where), ("judged at", v.get("point", "")), ("expected", r["expect"])]
    drawing, traced = v.get("forward"), v.get("backward")
    forward = laid_out(drawing, None) if drawing else None
    backward, words = None, ""
    if traced and (traced["wrong"] is not None or not culprit):
        backward, words = laid_out(traced, traced["wrong"]), "as it was traced"
    elif drawing:
        place = next((i for i, s in enumerate(drawing["steps"]) if s["label"] == f"%{culprit.get('node')}"), None)
        backward = laid_out(drawing, place, gradients=True)
        words = "of the forward graph: the gradients run from the outputs to the inputs"
    script, spec = culprit.get("script") or v["script"], culprit.get("spec") or v["spec"]
    notes = list(v["notes"])
    if max(len(script), len(spec)) > MOST_TEXT:
        notes.append("the reproducer is long, for its arrays: it is in the JSON report and in .gradverify/")
    return Detail(
        sentences=sentences,
        facts=[(name, text) for name, text in facts if text and text != "pass"],
        forward=forward,
        backward=backward,
        backward_words=words,
        arrays=[_array(c, plots) for c in v["comparisons"] if c["failing"]],
        script=script if len(script) <= MOST_TEXT else "",
        spec=spec if len(spec) <= MOST_TEXT else "",
        graph="" if drawing else v["graph"],
        notes=notes,
    )


def _array(c: Mapping[str, Any], plots: Plots) -> Array:
    errors = c.get("errors")
    words = f"{c['failing']} of {c['size']} entries of {c['of']} {'is' if c['failing'] == 1 else 'are'} off"
    if errors is None or c["size"] == 1:
        return Array(c["of"], words, "", [_entry(c["worst"])] if c["worst"] else [])
    rows = [[figure(x) for x in row] for row in errors["rows"]]
    is_pooled = sum(map(len, rows)) < c["size"]
    if is_pooled:
        words += f"; a cell of the picture has the worst of some {math.ceil(c['size'] / sum(map(len, rows)))}"
    picture = plots.error_map(rows, f"Picture of the errors: {words}", is_pooled=is_pooled)
    return Array(c["of"], words, picture, [_entry(e) for e in errors["entries"]])


def _entry(e: Mapping[str, Any]) -> Entry:
    where = f"{e['of']}[{', '.join(map(str, e['index']))}]" if e["index"] else e["of"]
    got, want = in_few_digits(e["got"], e["want"])
    figures = [f"{figure(e[key]):.2g}" for key in ("error", "budget", "bound")]
    return Entry(where, got, want, *figures)
