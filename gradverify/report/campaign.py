"""The results of a campaign by subject and dtype: as a table, a page of the docs, and a line while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from ..core.outcome import Outcome, Reason
from ..core.outcome import Tally as Counts
from ..run.campaign.log import NO_VERDICT
from ..run.campaign.model import Campaign, Combo
from ..run.events import Event, JobJudged, JobLost, RunFinished, RunStarted
from .terminal import align

OPEN = tuple(r for r in Reason if not r.is_unsupported)

ALWAYS = (Outcome.PASS, Outcome.FAIL, Outcome.KNOWN)
"""Outcomes that have a column in every table; WEAK and SURROGATE have one where they occur."""

SHOWN = 20
"""As many outcomes that gate, errors and so on are written out; the log has them all."""

Bad = JobJudged | JobLost

Graph = int | tuple[int | None, int]
"""The number of a graph; with its seed where that is not the campaign's."""


@dataclass
class Row:
    """The outcomes on one subject in one dtype; `lost` counts jobs without a verdict."""

    subject: str
    dtype: str
    counts: Counts = field(default_factory=Counts)
    lost: Counter[str] = field(default_factory=Counter)
    graphs: set[Graph] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def judged(self) -> int:
        """Cases that the subject ran and that a verdict was reached on."""
        return self.counts.judged

    @property
    def open(self) -> int:
        return self.counts.open

    @property
    def cannot(self) -> int:
        return self.counts.unsupported

    @property
    def all(self) -> int:
        """The number of verdicts and lost jobs."""
        return self.counts.total + self.lost.total()

    @property
    def share(self) -> float:
        """The share of judged cases that stay INCONCLUSIVE."""
        return self.open / self.judged if self.judged else 0.0

    @property
    def rate(self) -> float:
        """Verdicts per second of one process."""
        return self.all / self.seconds if self.seconds else 0.0


class Tally:
    """A listener that counts the outcomes of a campaign, and keeps the unacceptable events."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.rows: Mapping[Combo, Row] = {c: Row(*c) for c in campaign.combos}
        self.bad: list[Bad] = []
        self.known: Counter[tuple[str, str]] = Counter()
        self.unsupported: Counter[tuple[str, str]] = Counter()
        self.codes: list[str] = []
        self.code = ""
        self.versions: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.versions |= event.versions
            self.code = event.code
        elif not isinstance(event, RunFinished):
            self._count(event)

    def _count(self, event: Bad) -> None:
        if self.code not in self.codes:
            self.codes.append(self.code)
        job = event.job
        row = self.rows[Combo(job.subject, job.dtype)]
        if job.number is not None:
            row.graphs.add(job.number if job.source.seed == self.campaign.seed else (job.source.seed, job.number))
        if isinstance(event, JobLost):
            row.lost[event.how] += 1
            row.seconds += event.seconds
            self.bad.append(event)
            return
        v = event.verdict
        row.counts.add(v.outcome, v.kind, v.reason)
        row.seconds += v.seconds
        if not event.ok:
            self.bad.append(event)
        if v.outcome is Outcome.KNOWN:
            self.known[job.subject, v.known] += 1
        elif v.reason is not None and v.reason.is_unsupported:
            self.unsupported[job.subject, v.message] += 1

    @property
    def done(self) -> Mapping[Combo, set[Graph]]:
        """The graphs that were judged, by subject and dtype."""
        return {combo: row.graphs for combo, row in self.rows.items()}

    @property
    def graphs(self) -> set[Graph]:
        return set().union(*self.done.values())

    @property
    def cases(self) -> int:
        """Graphs, each in each of its dtypes."""
        dtypes = dict.fromkeys(combo.dtype for combo in self.rows)
        return sum(len(set().union(*(s for c, s in self.done.items() if c.dtype == d))) for d in dtypes)

    @property
    def ok(self) -> bool:
        return not self.bad

    @property
    def total(self) -> Row:
        total = Row("all", "")
        for row in self.rows.values():
            total.counts += row.counts
            total.lost += row.lost
            total.seconds += row.seconds
        return total


def finding(event: Bad) -> tuple[str, ...]:
    """What events of one fault have in common: subject, outcome, culprit and shapes; else the number of the graph."""
    what = event.how if isinstance(event, JobLost) else str(event.verdict.kind or event.verdict.outcome)
    culprit = event.verdict.facts.get("culprit") if isinstance(event, JobJudged) else None
    return event.job.subject, what, culprit or f"graph {event.job.number}"


def findings(events: Iterable[Bad]) -> list[list[Bad]]:
    """The events of each finding; the finding with most events first."""
    found: dict[tuple[str, ...], list[Bad]] = {}
    for event in events:
        found.setdefault(finding(event), []).append(event)
    return sorted(found.values(), key=len, reverse=True)


def _others(events: Sequence[Bad]) -> str:
    """The further graphs of a finding, as text; "" where there is none."""
    if len(events) == 1:
        return ""
    numbers = ", ".join(f"{e.job.number} ({e.job.dtype})" for e in events[1 : SHOWN + 1])
    return f"the same {finding(events[0])[2]}: {len(events) - 1} more, graphs {numbers}" + ", …" * (
        len(events) > SHOWN + 1
    )


def is_acceptable(event: Bad) -> bool:
    """Is the event a verdict that does not gate?"""
    return isinstance(event, JobJudged) and event.ok


# Text.


def replay(event: Bad, campaign: Campaign) -> str:
    """The command that judges an event's case again."""
    chosen = f"--only {event.job.number} --subjects {event.job.subject} --dtypes {event.job.dtype}"
    return f"gradverify campaign --seed {event.job.source.seed}{' --order 2' if campaign.order == 2 else ''} {chosen}"


def _describe(event: Bad) -> tuple[str, str, str, str]:
    """An event as (word, message, evidence, spec of the case)."""
    if isinstance(event, JobLost):
        return event.how, event.message, event.text, event.spec
    return str(event.verdict.outcome), event.verdict.message, event.text, event.verdict.spec


def evidence(event: Bad, campaign: Campaign) -> str:
    """An event as text: the outcome, the command that replays it, and all evidence."""
    what, message, text, spec = _describe(event)
    kind = f" ({event.verdict.kind})" if isinstance(event, JobJudged) and event.verdict.kind else ""
    lines = [f"{what}{kind}: graph {event.job.number} on {event.job.subject} in {event.job.dtype}"]
    lines[0] += f": {message}" if message else ""
    lines.append(f"again: {replay(event, campaign)}")
    if text:
        lines.append(text.rstrip())
    if spec and spec.strip() not in text:
        lines += ["--- spec: paste it into a .grad.yaml file", spec.rstrip()]
    return "\n".join(lines)


def _table(tally: Tally) -> tuple[list[str], list[list[str]]]:
    """Headings and lines. Reasons and failures of the run that occur nowhere have no column."""
    total = tally.total
    outcomes = [*ALWAYS, *(o for o in (Outcome.WEAK, Outcome.SURROGATE) if total.counts[o])]
    reasons = [r for r in OPEN if total.counts.reasons[r]]
    ended = [n for n in NO_VERDICT if total.lost[n]]
    headings = ["subject", "dtype", "judged", *map(str, outcomes), "INCONCLUSIVE", *(r.name.lower() for r in reasons)]
    headings += [*(["unsupported"] if total.cannot else []), *ended, "verdicts/s"]

    def cells(row: Row) -> list[str]:
        counts = [row.judged, *(row.counts[o] for o in outcomes)]
        share = f"{row.open} ({row.share:.2%})" if row.open else "0"
        rest = [
            *(row.counts.reasons[r] for r in reasons),
            *([row.cannot] if total.cannot else []),
            *(row.lost[n] for n in ended),
        ]
        return [row.subject, row.dtype, *map(str, counts), share, *map(str, rest), f"{row.rate:.1f}"]

    rows = [row for row in tally.rows.values() if row.all]
    return headings, [cells(row) for row in [*rows, *([total] if len(rows) > 1 else [])]]


def live(tally: Tally) -> Table:
    """The table, for a terminal that shows it while the campaign runs."""
    headings, rows = _table(tally)
    table = Table(box=None, padding=(0, 1))
    for k, name in enumerate(headings):
        table.add_column(name, justify="left" if k < 2 else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    return table


def count_text(tally: Tally) -> str:
    """The numbers of graphs, cases and verdicts, as text."""
    total = tally.total
    return (
        f"{len(tally.graphs)} random graphs; {tally.cases} cases (graph × dtype); "
        f"{total.judged} verdicts (case × subject)"
        + (f", and {total.cannot} that a subject cannot run" if total.cannot else "")
    )


def bound_text(tally: Tally) -> str:
    """The bound on the rate of wrong FAILs that n graphs without one give, as text; "" where there is one.

    (1 - p)**n >= 5 % for p <= 3 / n: the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983). By graphs, not by
    verdicts, since those of one graph depend on each other. A log of several states of the code bounds nothing: what was
    mended between them, and judged again, was not drawn at random.
    """
    if tally.total.counts[Outcome.FAIL] or not tally.graphs:
        return ""
    if len(tally.codes) > 1:
        return "No wrong FAIL is left. That bounds nothing, since the code was changed on the way."
    n = len(tally.graphs)
    return (
        f"No wrong FAIL: at most {min(3 / n, 1.0):.1g} of such graphs have one on these subjects, with 95 % confidence."
    )


def plain(tally: Tally) -> list[str]:
    """The table as aligned lines, the counts, and the unacceptable events."""
    if not tally.graphs:
        return ["no graph was judged"]
    headings, rows = _table(tally)
    made = [*align([headings, *rows]), count_text(tally)]
    made += [line for line in (bound_text(tally), _several_codes(tally)) if line]
    found = findings(tally.bad)
    for events in found[:SHOWN]:
        what, message, *_ = _describe(events[0])
        made.append(f"{what}: {message.splitlines()[0] if message else ''}")
        made.append(f"  {replay(events[0], tally.campaign)}")
        made += [f"  {line}" for line in [_others(events)] if line]
    if len(found) > SHOWN:
        made.append(f"and {len(found) - SHOWN} more findings")
    return made


def _several_codes(tally: Tally) -> str:
    n = len(tally.codes)
    return f"The log was written by {n} states of gradverify's code ({', '.join(tally.codes)})." if n > 1 else ""


def progress(tally: Tally, seconds: float, judged_now: int) -> str:
    """The line of progress; `judged_now` counts the verdicts of the last `seconds`, without logged ones."""
    total = tally.total
    done, wanted = total.all, tally.campaign.verdicts
    rate = judged_now / seconds if seconds > 0 else 0.0
    left = f", {_duration((wanted - done) / rate)} left" if rate else ""
    bad = {"FAIL": total.counts[Outcome.FAIL]} | {n: total.lost[n] for n in NO_VERDICT if total.lost[n]}
    said = ", ".join(f"{n} {what}" for what, n in bad.items())
    return f"{done} of {wanted} verdicts, {said}, {total.share:.2%} INCONCLUSIVE, {rate:.1f} verdicts/s{left}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else "under a minute"
    )


INTRODUCTION = """\
# A campaign: random graphs by the hundred thousand

A tool that finds wrong gradients is worth what its false alarms are. This page counts them, over random graphs of the
whole op table, on every subject and in every dtype. Made by

```
{command}
```

which may be interrupted and given again: it goes on where the log ends. Do not edit this page.

* Graph *i* of a seed is the same for everybody and in every process: `--only i` judges it again and prints all the
  evidence.
* The graphs are of 1 to {max_ops} ops, with values at zeros, ties, ±1, the ends of domains and near 0 among ordinary ones,
  and signed, uneven, one-hot and zero cotangents. What is drawn stays off kinks, which the shipped specs are about.
* In each dtype values are rounded to it, so each is a case of its own; complex dtypes have graphs of complex ops.
* Nothing is tuned: these are the settings that everybody has.
* A process per `--jobs`, of one thread each. If one crashes or hangs (`--limit`), its case is noted as such, and the run
  goes on.

| column | counts |
|---|---|
| judged | cases that the subject ran, and on which there is a verdict |
| FAIL | no declared weakness of the framework explains it: a false alarm, or a defect of the subject |
| KNOWN | a formula of the framework that is known to lose digits explains every entry (listed below) |
| INCONCLUSIVE | what stays open, by the reasons below; in brackets, of what was judged |
| unsupported | the subject lacks an op, or has it not in this dtype; no part of what was judged |
| error, crash, hang | no verdict: gradverify raised, the process ended, or it had to be ended |
| verdicts/s | of one process, the case's truth included (subjects share it, and pay for it in turn) |

The command ends with exit code 0 where nothing gates (by default: no FAIL), and there is no error, no crash and no
hang; else with 1.
"""


def markdown(tally: Tally, command: str) -> str:
    """The page docs/campaign.md."""
    return "\n".join(_markdown(tally, command)) + "\n"


def _markdown(tally: Tally, command: str) -> Iterator[str]:
    from ..generate.structure import limits

    yield INTRODUCTION.format(command=command, max_ops=limits(None).max_ops)
    yield "## What came of it"
    yield ""
    versions = ", ".join(f"{name} {v}" for name, v in tally.versions.items())
    yield f"{count_text(tally)}. Seed {tally.campaign.seed}, device {tally.campaign.device}; {versions}."
    for line in (bound_text(tally), _several_codes(tally)):
        if line:
            yield from ("", line)
    headings, rows = _table(tally)
    yield from ("", _row(headings), _row(["---"] * 2 + ["---:"] * (len(headings) - 2)), *map(_row, rows))
    total = tally.total
    if total.open:
        yield ""
        yield from (f"* {r.name.lower()}: {r.value}" for r in OPEN if total.counts.reasons[r])
    if tally.bad:
        yield from ("", "## What is not as it should be")
        found = findings(tally.bad)
        for events in found[:SHOWN]:
            event, job = events[0], events[0].job
            yield from ("", f"### {_describe(event)[0]}: graph {job.number}, {job.subject}, {job.dtype}", "")
            yield from (
                f"`{replay(event, tally.campaign)}`",
                "",
                "```",
                evidence(event, tally.campaign),
                "```",
            )
            yield from ("", _others(events)) if len(events) > 1 else ()
        if len(found) > SHOWN:
            yield from ("", f"And {len(found) - SHOWN} more findings, in the log.")
    for title, counts in (("Known formulas", tally.known), ("What subjects cannot run", tally.unsupported)):
        if counts:
            yield from ("", f"## {title}", "", "| cases | subject | |", "|---:|---|---|")
            yield from (_row([str(n), subject, text]) for (subject, text), n in counts.most_common(2 * SHOWN))
            if len(counts) > 2 * SHOWN:
                rest = sum(n for _, n in counts.most_common()[2 * SHOWN :])
                yield _row([str(rest), "", "others"])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
