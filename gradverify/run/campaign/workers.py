"""The verdicts of a campaign, as work for a scheduler: what the processes do, and what the parent makes of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.case import Case
from ...core.errors import Unsupported
from ...core.verdict import Outcome, Verdict
from ...generate.campaign import seeded_case
from ...generate.structure import limits
from ...spec.write import dumps
from ..crew import Lost, import_frameworks, mark
from ..events import Listener, RunFinished, RunStarted, tell
from ..identity import code
from ..runner import Settings, judge_case, judge_second_order
from ..scheduling import Entry, Scheduler, local
from . import coverage
from .corpus import Corpus, Example
from .log import Log, head, read_log, to_entry, to_event, verdicting, versions
from .model import Campaign, Verdicting


def run_campaign(
    c: Campaign,
    listeners: Sequence[Listener],
    log: Log | None = None,
    judge: Scheduler | None = None,
    corpus: Corpus | None = None,
) -> None:
    """Tell the logged outcomes of the campaign, then judge the rest; each outcome is logged before it is told.

    judge   where: in one process of this machine, by default
    corpus  keeps each graph that takes what none of its own does

    The last RunStarted is this session's own, and its total what is left to judge.
    """
    done: set[Verdicting] = set()
    for entry in read_log(c, log or ()):
        if "i" in entry:
            done.add(verdicting(entry, c.seed))
        tell(listeners, to_event(entry, c.seed, c.policy))
    started = to_event(head(c), c.seed, c.policy)
    assert isinstance(started, RunStarted)
    subjects, dtypes = (tuple(dict.fromkeys(names)) for names in zip(*c.combos))
    left = c.verdicts - sum(c.draws(v) or v in c.of_corpus for v in done)
    tell(listeners, replace(started, total=left, subjects=subjects, dtypes=dtypes))
    start, interrupted = time.perf_counter(), True
    try:
        for entry in (judge or local())(Judging.of(c), c.tasks(done)):
            took = entry.pop("took", ())
            if corpus is not None:  # before it is logged: what is logged is not judged again, so would never be kept
                corpus.learn(Example(entry.get("seed", c.seed), entry["i"], entry["dtype"]), took)
            if log is not None:
                log.append(entry)
            tell(listeners, to_event(entry, c.seed, c.policy))
        interrupted = False
    finally:
        tell(listeners, RunFinished(time.perf_counter() - start, interrupted))


@dataclass(frozen=True)
class Judging:
    """The verdicts of a campaign, as work: an item is a `Verdicting`."""

    campaign: Campaign

    @classmethod
    def of(cls, c: Campaign) -> Judging:
        """Without the graphs, which go with the tasks: this goes with each task of a cluster."""
        return cls(replace(c, graphs=(), corpus=None if c.corpus is None else ()))

    @property
    def limit(self) -> float:
        return self.campaign.limit

    def prepare(self) -> None:
        import_frameworks(dict.fromkeys(combo.subject for combo in self.campaign.combos), self.campaign.device)

    def do(self, item: Verdicting) -> Entry:
        """The entry of a verdict, or of an error of ours."""
        start = time.perf_counter()
        entry = _named(item, self.campaign)
        case: Case | None = None
        try:
            case = _shared_case(item)
            mark()
            entry |= _judge(case, item, self.campaign)
        except Exception as e:
            spec = _spec(case, item.combo.subject) if case is not None else ""
            entry |= {
                "is": "error",
                "message": f"{type(e).__name__}: {e}",
                "text": traceback.format_exc(),
                "spec": spec,
            }
        return entry | {"s": round(time.perf_counter() - start, 4)}

    def lost(self, item: Verdicting, how: Lost, seconds: float) -> Entry:
        # What made the process end in the making of the case would end this one too.
        spec = _spec(_case(item), item.combo.subject) if how.marks else ""
        return _named(item, self.campaign) | {
            "is": how.how, "s": seconds, "message": how.message, "text": how.text, "spec": spec,
            "took": [f"verdict {self.campaign.order} {how.how}"],
        }  # fmt: skip

    def state(self) -> dict[str, str]:
        found = versions(dict.fromkeys(combo.subject for combo in self.campaign.combos))
        return {"state of gradverify's code": code()} | {f"version of {name}": v for name, v in found.items()}


def _named(item: Verdicting, c: Campaign) -> Entry:
    """What says which verdict an entry is; the seed where it is not the campaign's own."""
    own = {} if item.seed == c.seed else {"seed": item.seed}
    return {"i": item.graph, **own, "subject": item.combo.subject, "dtype": item.combo.dtype}


# What runs in the process.

_last: tuple[tuple[int, int, str], Case] | None = None
"""The case of a graph in a dtype, which several subjects share, with its truth."""


def _shared_case(item: Verdicting) -> Case:
    global _last
    key = item.seed, item.graph, item.combo.dtype
    if _last is None or _last[0] != key:
        _last = key, _case(item)
    return _last[1]


def _case(item: Verdicting) -> Case:
    return seeded_case(item.seed, item.graph, item.combo.dtype, limits(None))


def _judge(case: Case, item: Verdicting, c: Campaign) -> Entry:
    if c.corpus is None:
        return to_entry(_verdict(case, item.combo.subject, c), c.every)
    with coverage.lines() as taken:
        verdict = _verdict(case, item.combo.subject, c)
    features = coverage.of_case(case, item.combo.subject) | coverage.of_verdict(verdict, c.order) | taken
    return to_entry(verdict, c.every) | {"took": coverage.told(features)}


def _verdict(case: Case, subject: str, c: Campaign) -> Verdict:
    """The verdict, with the culprit of a FAIL."""
    settings = Settings(device=c.device, shrink=False)
    if c.order == 2:
        return judge_second_order(case, subject, settings)
    verdict = judge_case(case, subject, settings)
    return judge_case(case, subject, replace(settings, shrink=True)) if verdict.outcome is Outcome.FAIL else verdict


def _spec(case: Case, subject: str) -> str:
    try:
        return dumps(case, subjects=(subject,))
    except Unsupported:
        return ""
