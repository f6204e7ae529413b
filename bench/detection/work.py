"""The kill matrix as work for a scheduler: an item is a tool, the name of an entry, and a dtype ("" for the entry's own)."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bench.detection import tools
from bench.detection.catalogue import Entry, correct, mutants
from bench.detection.dtypes import in_dtype
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.run.campaign.log import code, versions
from gradverify.run.crew import Lost

GRACE = 60.0
"""Seconds beyond the limit after which a process that hangs outside Python is ended."""

WARM = 120.0
"""Seconds for a tool's first call."""


class Item(NamedTuple):
    tool: str
    name: str
    dtype: str = ""


@dataclass(frozen=True)
class Row:
    """The verdict of one tool on one entry, and its time."""

    tool: str
    entry: Entry
    outcome: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Matrix:
    """Each of `tools` on entries, for at most `each` seconds."""

    tools: tuple[str, ...]
    each: float

    @property
    def limit(self) -> float:
        return self.each + GRACE

    def prepare(self) -> None:
        import torch

        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        torch.set_num_threads(1)
        warm = [next(e for e in correct() if e.framework == f) for f in ("torch", "jax")]
        for tool in self.tools:
            for e in warm:
                measure(tool, e, WARM)  # imports and first compilations are not the function's

    def do(self, item: Item) -> dict[str, Any]:
        entry = entries()[item.name]
        found = measure(item.tool, in_dtype(entry, item.dtype) if item.dtype else entry, self.each)
        return said(item, found.outcome, found.message, found.seconds)

    def lost(self, item: Item, how: Lost, seconds: float) -> dict[str, Any]:
        return said(item, "undecided", f"the tool ended its process: {how.message}", seconds)

    def state(self) -> dict[str, str]:
        tables = hashlib.blake2b(digest_size=6)
        for path in sorted(Path(__file__).parent.rglob("*.py")):
            tables.update(path.read_bytes())
        return {
            "state of gradverify's code": code(), "state of the catalogue": tables.hexdigest(),
            **{f"version of {name}": v for name, v in versions(["torch", "jax", "autograd"]).items()},
        }  # fmt: skip


ENVIRONMENT = {"JAX_PLATFORMS": "cpu"}


@cache
def entries() -> Mapping[str, Entry]:
    """The catalogue; a name that stands there twice has its number the second time."""
    found: dict[str, Entry] = {}
    for e in (*mutants(), *correct()):
        found[e.name if e.name not in found else f"{e.name} ({sum(n.startswith(e.name) for n in found) + 1})"] = e
    return found


def said(item: Item, outcome: str, message: str, seconds: float) -> dict[str, Any]:
    return {**item._asdict(), "outcome": outcome, "message": message, "seconds": seconds}


def read(row: Mapping[str, Any]) -> tuple[Item, Row]:
    """A line that `said` wrote, or one of a run before tools were named."""
    item = Item(row.get("tool", "gradverify.check"), row["name"], row.get("dtype", ""))
    return item, Row(item.tool, entries()[item.name], row["outcome"], row["message"], row["seconds"])


def each_dtype(names: list[str], dtypes: list[str]) -> Iterator[Item]:
    return (Item("gradverify.check", name, dtype) for dtype in dtypes for name in names)


def measure(tool: str, entry: Entry, limit: float) -> Row:
    """Run a tool on an entry, for at most `limit` seconds."""
    start = time.perf_counter()
    try:
        with time_limit(limit):
            outcome, message = tools.run(tool, entry)
    except TimeLimit:
        outcome, message = "undecided", f"over {limit:g} s"
    except Exception as e:  # the tool itself broke: no verdict, and worth knowing
        outcome, message = "undecided", f"the tool raised {type(e).__name__}: {str(e)[:200]}"
    return Row(tool, entry, outcome, message, time.perf_counter() - start)
