# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""Does a corpus find planted bugs in fewer graphs than blind drawing does?

    python bench/corpus.py [--seeds 5] [--learn 1500] [--cap 3000] [--rows FILE] [--write]

For each seed a corpus is learned from the first `--learn` graphs of it, on the right engine. Then each wrong VJP of
tests/mutants is put into the engine, and graphs are judged until one is not right: those of the corpus first and then the
drawn ones, or the drawn ones alone. Both draw the same graphs, of a seed that nothing was learned from: the runs are pairs.

A graph without the op cannot be wrong by its rule, and is counted without being judged.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

from hypothesis.database import InMemoryExampleDatabase

from gradverify.core.errors import GradverifyError
from gradverify.core.graph import Apply
from gradverify.core.outcome import Outcome
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.generate.campaign import seeded_case
from gradverify.generate.structure import limits
from gradverify.ops.build import lowered
from gradverify.ops.complex.lowering import is_complex
from gradverify.run.campaign.corpus import Corpus, Example
from gradverify.run.campaign.model import Campaign, Combo
from gradverify.run.campaign.workers import run_campaign
from gradverify.run.runner import Settings, judge_case
from gradverify.run.scheduling import local
from tests.mutants.conjugates import CONJUGATES
from tests.mutants.declared import DECLARED
from tests.mutants.harness import engine_with
from tests.mutants.mutant import Mutant

PAGE = ROOT / "bench" / "results" / "corpus.md"
MUTANTS = tuple(m for m in (*DECLARED, *CONJUGATES) if m.spec is not None)
REPORTED = (Outcome.FAIL, Outcome.WEAK)
DTYPES = ("float64", "float32", "complex128")
DRAWN = 1000
"""Added to a seed: that of the graphs that nothing was learned from."""


@lru_cache(maxsize=1 << 17)
def ops(graph: Example) -> tuple[frozenset[str], int]:
    """The ops of a graph, as it was drawn and lowered, and how many it applies."""
    made = seeded_case(*graph, limits(None)).graph
    graphs = (made,) if is_complex(made) else (made, lowered(made))
    return frozenset(n.op for g in graphs for n in g.nodes if isinstance(n, Apply)), made.ops


@lru_cache(maxsize=1 << 16)
def right(graph: Example) -> bool:
    """Does the engine without a mutant pass?"""
    return judge_case(seeded_case(*graph, limits(None)), "engine", Settings(shrink=False)).outcome not in REPORTED


def learn(seed: int, graphs: int) -> Corpus:
    """The corpus of the first graphs of a seed, each in one dtype, in turn."""
    corpus = Corpus(InMemoryExampleDatabase())
    c = Campaign(range(graphs), tuple(Combo("engine", d) for d in DTYPES), seed, spread="dtypes", corpus=())
    run_campaign(c, [], judge=local(1), corpus=corpus)
    return corpus


def drawn(seed: int) -> Iterator[Example]:
    """What a campaign of this seed draws, each graph in one dtype, in turn."""
    i = 0
    while True:
        for dtype in DTYPES:
            yield Example(seed, i, dtype)
            i += 1


def find(mutant: Mutant, graphs: Iterator[Example], cap: int) -> tuple[int, int, bool]:
    """The graphs and the ops that were judged until one was not right, or the cap; was one found?"""
    count = work = 0
    subject = EngineFramework()
    for graph in graphs:
        names, size = ops(graph)
        count, work = count + 1, work + size
        if mutant.op in names:
            case = seeded_case(*graph, limits(None))
            with engine_with(mutant):
                reported = judge_case(case, subject, Settings(shrink=False)).outcome in REPORTED
            if reported and right(graph):
                return count, work, True
        if count >= cap:
            break
    return count, work, False


def first(examples: Sequence[Example], graphs: Iterator[Example]) -> Iterator[Example]:
    yield from examples
    yield from graphs


def measure(seed: int, learned: int, cap: int) -> Iterator[dict[str, Any]]:
    """A row for each mutant: what both needed."""
    examples = learn(seed, learned).examples()
    print(f"seed {seed}: {len(examples)} graphs learned", file=sys.stderr, flush=True)
    for mutant in MUTANTS:
        blind = find(mutant, drawn(DRAWN + seed), cap)
        corpus = find(mutant, first(examples, drawn(DRAWN + seed)), cap)
        yield {
            "seed": seed, "mutant": mutant.name, "op": mutant.op, "bug": mutant.bug, "kept": len(examples),
            "blind": blind, "corpus": corpus,
        }  # fmt: skip


def geometric(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def interval(ratios: Sequence[Sequence[float]]) -> tuple[float, float]:
    """A 95 % interval of the geometric mean: the bootstrap over mutants, each with all its seeds."""
    draw = random.Random(0)
    means = sorted(geometric([r for _ in ratios for r in draw.choice(ratios)]) for _ in range(2000))
    return means[50], means[1949]


def page(rows: Sequence[dict[str, Any]], command: str, learned: int, cap: int) -> str:
    seeds = sorted({r["seed"] for r in rows})
    either = [r for r in rows if r["blind"][2] or r["corpus"][2]]
    neither = len(rows) - len(either)

    def summary(which: int) -> str:
        by_mutant: dict[str, list[float]] = {}
        for r in either:
            by_mutant.setdefault(r["mutant"], []).append(r["corpus"][which] / r["blind"][which])
        low, high = interval(list(by_mutant.values()))
        seeds_ = [geometric([r["corpus"][which] / r["blind"][which] for r in either if r["seed"] == s]) for s in seeds]
        every = [x for found in by_mutant.values() for x in found]
        return (
            f"{geometric(every):.2f} | {low:.2f} to {high:.2f} | {min(seeds_):.2f} to {max(seeds_):.2f} "
            f"| {statistics.median(every):.2f}"
        )

    fewer = sum(r["corpus"][0] < r["blind"][0] for r in either)
    more = sum(r["corpus"][0] > r["blind"][0] for r in either)
    of = lambda name, which: statistics.median(r[name][which] for r in either)
    mean = lambda name, which: statistics.fmean(r[name][which] for r in either)
    kept = sorted({(r["seed"], r["kept"]) for r in rows})
    lines = [
        "# Planted bugs: a corpus against blind drawing", "",
        f"`{command}`", "",
        f"{len({r['mutant'] for r in rows})} wrong VJPs of tests/mutants in the engine, {len(seeds)} seeds: "
        f"{len(rows)} pairs.",
        f"Each corpus was learned from {learned} graphs of a seed on the right engine, and kept "
        f"{', '.join(str(k) for _, k in kept)} of them. Graphs are drawn in {', '.join(DTYPES)}, in turn, at most {cap}.",
        "", "Ratios are of the corpus over blind drawing: below 1 the corpus needs less.", "",
        "| until the bug is found | ratio, geometric mean | 95 % interval (bootstrap over mutants) | of single seeds "
        "| median |",
        "|---|---|---|---|---|",
        f"| graphs | {summary(0)} |",
        f"| ops in them | {summary(1)} |",
        "",
        "| | corpus first | blind |", "|---|---:|---:|",
        f"| graphs, median | {of('corpus', 0):g} | {of('blind', 0):g} |",
        f"| graphs, mean | {mean('corpus', 0):.0f} | {mean('blind', 0):.0f} |",
        f"| ops, median | {of('corpus', 1):g} | {of('blind', 1):g} |",
        f"| found within {cap} graphs | {sum(r['corpus'][2] for r in rows)} | {sum(r['blind'][2] for r in rows)} |",
        "",
        f"The corpus needed fewer graphs in {fewer} pairs, more in {more}, the same in {len(either) - fewer - more}; "
        f"neither found the bug in {neither}.", "",
        "The graphs of a corpus are larger than drawn ones, and those that take most come first: where the second line of",
        "the first table is not below 1, fewer graphs are not less work. Pairs in which neither found the bug are left out.",
        "",
        "What is counted is the search, not the learning: a corpus pays where it is used again, after a change of the code,",
        "of a framework or of the judge. What is not found counts with all graphs that were judged. Lines of code were no",
        f"features here: Python {sys.version_info[0]}.{sys.version_info[1]}." if sys.version_info < (3, 12) else "",
    ]  # fmt: skip
    missed = sorted({r["mutant"] for r in rows if not r["corpus"][2]})
    lines += ["", f"Not found with a corpus, on some seed: {', '.join(missed) or 'none'}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learn", type=int, default=1500)
    parser.add_argument("--cap", type=int, default=3000)
    parser.add_argument("--rows", type=Path, help="keep the rows here; a seed that is there is not run again")
    parser.add_argument("--write", action="store_true", help="save bench/results/corpus.md")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.rows and options.rows.exists():
        rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    for seed in range(options.seeds):
        if any(r["seed"] == seed for r in rows):
            continue
        found = list(measure(seed, options.learn, options.cap))
        rows += found
        if options.rows:
            with options.rows.open("a") as file:
                file.writelines(json.dumps(r) + "\n" for r in found)
        ops.cache_clear()
    if not rows:
        raise GradverifyError("no seeds")
    command = f"python bench/corpus.py --seeds {options.seeds} --learn {options.learn} --cap {options.cap}"
    text = page(rows, command, options.learn, options.cap)
    print(text)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
