"""What came of a campaign: counted by subject and dtype, as a table, as a page of the docs, and as a line while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..core.verdict import Reason
from ..run.campaign.model import NO_VERDICT, Campaign, Combo, Entry
from .terminal import aligned

CANNOT = tuple(r.name.lower() for r in Reason if r.is_unsupported)
"""Reasons that say that nothing was judged: counted apart from what stays open."""

OPEN = tuple(r.name.lower() for r in Reason if r.name.lower() not in CANNOT)

WRONG, KNOWN = "wrong", "known"

SHOWN = 20
"""As many wrong FAILs, errors and so on are written out; the log has them all."""


@dataclass
class Row:
    """Verdicts by outcome: PASS, `WRONG`, `KNOWN`, the reasons of INCONCLUSIVE, and `NO_VERDICT`."""

    subject: str
    dtype: str
    counts: Counter[str] = field(default_factory=Counter)
    graphs: set[int] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def judged(self) -> int:
        """Cases that the subject ran and that a verdict was reached on."""
        return self.counts["PASS"] + self.counts[WRONG] + self.counts[KNOWN] + self.open

    @property
    def open(self) -> int:
        return sum(self.counts[r] for r in OPEN)

    @property
    def cannot(self) -> int:
        return sum(self.counts[r] for r in CANNOT)

    @property
    def share(self) -> float:
        """Of what was judged, the part that stays INCONCLUSIVE."""
        return self.open / self.judged if self.judged else 0.0

    @property
    def rate(self) -> float:
        """Verdicts per second of one process."""
        return sum(self.counts.values()) / self.seconds if self.seconds else 0.0


class Tally:
    """Told the lines of a campaign one by one: counts them, and keeps what is not acceptable."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.rows: Mapping[Combo, Row] = {c: Row(*c) for c in campaign.combos}
        self.bad: list[Entry] = []
        self.known: Counter[tuple[str, str]] = Counter()
        self.unsupported: Counter[tuple[str, str]] = Counter()
        self.codes: list[str] = []
        self.code = ""
        self.versions: dict[str, str] = {}

    def __call__(self, entry: Entry) -> None:
        if "campaign" in entry:
            self.versions |= entry["versions"]
            self.code = entry["code"]
            return
        if self.code not in self.codes:
            self.codes.append(self.code)
        row = self.rows[Combo(entry["subject"], entry["dtype"])]
        what = outcome(entry)
        row.counts[what] += 1
        row.seconds += entry["s"]
        row.graphs.add(entry["i"])
        if not acceptable(entry):
            self.bad.append(entry)
        elif what == KNOWN:
            self.known[entry["subject"], entry["known"]] += 1
        elif what in CANNOT:
            self.unsupported[entry["subject"], entry["message"]] += 1

    @property
    def done(self) -> Mapping[Combo, set[int]]:
        """The graphs that were judged, by subject and dtype."""
        return {combo: row.graphs for combo, row in self.rows.items()}

    @property
    def graphs(self) -> set[int]:
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
            total.seconds += row.seconds
        return total


def outcome(entry: Entry) -> str:
    """What an entry counts as; see `Row`."""
    if entry["is"] == "INCONCLUSIVE":
        return entry["reason"]
    what: str = entry["is"]
    return {"FAIL": WRONG, "KNOWN": KNOWN}.get(what, what)


def acceptable(entry: Entry) -> bool:
    return outcome(entry) not in (WRONG, *NO_VERDICT)


# Text.


def replay(entry: Entry, seed: int) -> str:
    """The command that judges an entry's case again."""
    chosen = f"--only {entry['i']} --subjects {entry['subject']} --dtypes {entry['dtype']}"
    return f"gradverify campaign --seed {seed} {chosen}"


def evidence(entry: Entry, seed: int) -> str:
    """Of what is not acceptable: what happened, how to see it again, and everything known of it."""
    kind = f" ({entry['kind']})" if "kind" in entry else ""
    lines = [f"{entry['is']}{kind}: graph {entry['i']} on {entry['subject']} in {entry['dtype']}"]
    lines[0] += f": {entry['message']}" if entry.get("message") else ""
    lines.append(f"again: {replay(entry, seed)}")
    text = entry.get("text", "")
    if text:
        lines.append(text.rstrip())
    if entry.get("spec") and entry["spec"].strip() not in text:
        lines += ["--- spec: paste it into a .grad.yaml file", entry["spec"].rstrip()]
    return "\n".join(lines)


def _table(tally: Tally) -> tuple[list[str], list[list[str]]]:
    """Headings and lines. Reasons and failures of the run that occur nowhere have no column."""
    total = tally.total
    reasons = [r for r in OPEN if total.counts[r]]
    ended = [n for n in NO_VERDICT if total.counts[n]]
    headings = ["subject", "dtype", "judged", "PASS", "wrong FAIL", "known FAIL", "INCONCLUSIVE", *reasons]
    headings += [*(["unsupported"] if total.cannot else []), *ended, "verdicts/s"]

    def cells(row: Row) -> list[str]:
        counts = [row.judged, row.counts["PASS"], row.counts[WRONG], row.counts[KNOWN]]
        share = f"{row.open} ({row.share:.2%})" if row.open else "0"
        rest = [
            *(row.counts[r] for r in reasons),
            *([row.cannot] if total.cannot else []),
            *(row.counts[n] for n in ended),
        ]
        return [row.subject, row.dtype, *map(str, counts), share, *map(str, rest), f"{row.rate:.1f}"]

    rows = [row for row in tally.rows.values() if row.counts]
    return headings, [cells(row) for row in [*rows, *([total] if len(rows) > 1 else [])]]


def counted(tally: Tally) -> str:
    """How much was judged, in the three ways that one may count."""
    total = tally.total
    return (
        f"{len(tally.graphs)} random graphs; {tally.cases} cases (graph × dtype); "
        f"{total.judged} verdicts (case × subject)"
        + (f", and {total.cannot} that a subject cannot run" if total.cannot else "")
    )


def bounded(tally: Tally) -> str:
    """What no wrong FAIL among n graphs says of the graphs that were not drawn; "" where there is one.

    (1 - p)**n >= 5 % for p <= 3 / n: the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983). By graphs, not by
    verdicts, since those of one graph depend on each other. A log of several states of the code bounds nothing: what was
    mended between them, and judged again, was not drawn at random.
    """
    if tally.total.counts[WRONG] or not tally.graphs:
        return ""
    if len(tally.codes) > 1:
        return "No wrong FAIL is left. That bounds nothing, since the code was changed on the way."
    n = len(tally.graphs)
    return (
        f"No wrong FAIL: at most {min(3 / n, 1.0):.1g} of such graphs have one on these subjects, with 95 % confidence."
    )


def plain(tally: Tally) -> list[str]:
    """The table as aligned lines, what it counts, and what is not acceptable."""
    if not tally.graphs:
        return ["no graph was judged"]
    headings, rows = _table(tally)
    made = [*aligned([headings, *rows]), counted(tally)]
    made += [line for line in (bounded(tally), _several_codes(tally)) if line]
    for entry in tally.bad[:SHOWN]:
        made.append(f"{entry['is']}: {entry['message'].splitlines()[0] if entry['message'] else ''}")
        made.append(f"  {replay(entry, tally.campaign.seed)}")
    if len(tally.bad) > SHOWN:
        made.append(f"and {len(tally.bad) - SHOWN} more")
    return made


def _several_codes(tally: Tally) -> str:
    n = len(tally.codes)
    return f"The log was written by {n} states of gradverify's code ({', '.join(tally.codes)})." if n > 1 else ""


def progress(tally: Tally, seconds: float, judged_now: int) -> str:
    """One line while it runs; `judged_now` verdicts in the last `seconds`, without those that the log had already."""
    total = tally.total
    done, wanted = sum(total.counts.values()), tally.campaign.verdicts
    rate = judged_now / seconds if seconds > 0 else 0.0
    left = f", {_duration((wanted - done) / rate)} left" if rate else ""
    bad = {"wrong FAIL": total.counts[WRONG]} | {n: total.counts[n] for n in NO_VERDICT if total.counts[n]}
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
| wrong FAIL | no declared weakness of the framework explains it: a false alarm, or a defect of the subject |
| known FAIL | a formula of the framework that is known to lose digits explains every entry (listed below) |
| INCONCLUSIVE | what stays open, by the reasons below; in brackets, of what was judged |
| unsupported | the subject lacks an op, or has it not in this dtype; no part of what was judged |
| error, crash, hang | no verdict: gradverify raised, the process ended, or it had to be ended |
| verdicts/s | of one process, the case's truth included (subjects share it, and pay for it in turn) |

The command ends with exit code 0 where there is no wrong FAIL, no error, no crash and no hang; else with 1.
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
    yield f"{counted(tally)}. Seed {tally.campaign.seed}, device {tally.campaign.device}; {versions}."
    for line in (bounded(tally), _several_codes(tally)):
        if line:
            yield from ("", line)
    headings, rows = _table(tally)
    yield from ("", _row(headings), _row(["---"] * 2 + ["---:"] * (len(headings) - 2)), *map(_row, rows))
    total = tally.total
    if total.open:
        yield ""
        yield from (
            f"* {r.name.lower()}: {r.value}" for r in Reason if r.name.lower() in OPEN and total.counts[r.name.lower()]
        )
    if tally.bad:
        yield from ("", "## What is not as it should be")
        for entry in tally.bad[:SHOWN]:
            yield from ("", f"### {entry['is']}: graph {entry['i']}, {entry['subject']}, {entry['dtype']}", "")
            yield from (
                f"`{replay(entry, tally.campaign.seed)}`",
                "",
                "```",
                evidence(entry, tally.campaign.seed),
                "```",
            )
        if len(tally.bad) > SHOWN:
            yield from ("", f"And {len(tally.bad) - SHOWN} more, in the log.")
    for title, told in (("Known formulas", tally.known), ("What subjects cannot run", tally.unsupported)):
        if told:
            yield from ("", f"## {title}", "", "| cases | subject | |", "|---:|---|---|")
            yield from (_row([str(n), subject, text]) for (subject, text), n in told.most_common(2 * SHOWN))
            if len(told) > 2 * SHOWN:
                rest = sum(n for _, n in told.most_common()[2 * SHOWN :])
                yield _row([str(rest), "", "others"])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
