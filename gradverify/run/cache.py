"""Verdicts that are kept from run to run: what passed, and depends on nothing that has changed, is not judged again.

A verdict is looked up by its case (graph, inputs, cotangent and the rest), subject, device and seed, and by the versions
of all that is installed, gradverify's own source included (`identity.environment`). It holds as long as the modules and
libraries of the project that were loaded when it was found hold what they held: the user's function (`call:`), ops and
subjects that a conftest.py registers. Only PASS is kept: whatever somebody may look at is judged.

What a function reads besides (data files, environment variables, a network) nobody sees: for these there is no cache.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.outcome import Outcome
from ..core.verdict import Comparison, Coverage, Element, Formula, Verdict
from .identity import are_unchanged, digests, environment, loaded_files

FILE = "verdicts.sqlite"
"""Below `.gradverify` in the project's root."""

DAYS = 90
"""After which a verdict that nobody asked for is dropped."""

CACHED = "cached"
"""The fact of a verdict that it comes from the cache."""


def key_of(case: Case, subject: str, *context: object) -> str:
    """A digest of all that a verdict on a case depends on, but for the project's own files."""
    h = hashlib.blake2b(digest_size=20)
    text = lambda graph: (graph.nodes, graph.outputs)
    mixed = case.mixed and (sorted(case.mixed.inputs.items()), case.mixed.outputs, case.mixed.widest,
                            sorted(case.mixed.nodes.items()), case.mixed.of is case.graph)  # fmt: skip
    claims = [(name, text(case.claims[name])) for name in sorted(case.claims)]
    asked = (case.dtype, case.wrt, case.function, case.vjp, case.expect, case.invariants, case.parts)
    where = (sorted(case.placed), sorted(case.updated))
    parts = (environment(), subject, context, case.name, text(case.graph), claims, asked, mixed, where)
    h.update(repr(parts).encode())
    for name, array in [*case.values.items(), *enumerate(case.cotangent)]:
        a = np.asarray(array)
        h.update(repr((name, a.dtype.name, a.shape, a.strides)).encode() + a.tobytes())
    return h.hexdigest()


class Cache:
    """A file of verdicts. A file that cannot be read or written is no cache, and no error."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def judge(self, case: Case, subject: str, judge: Callable[[], Verdict], *context: object) -> Verdict:
        """The kept verdict if there is one. Else call `judge`, and keep its verdict if it is PASS.

        `context`: what else it depends on.
        """
        key = key_of(case, subject, *context)
        known = self._get(key)
        if known is not None:
            return known
        verdict = judge()
        if verdict.outcome is Outcome.PASS:
            self._put(key, verdict, digests(loaded_files()))
        return verdict

    def _get(self, key: str) -> Verdict | None:
        try:
            with closing(self._open()) as base, base:
                row = base.execute("SELECT verdict, files FROM verdicts WHERE key = ?", (key,)).fetchone()
                if row is None or not are_unchanged(json.loads(row[1])):
                    return None
                base.execute("UPDATE verdicts SET used = ? WHERE key = ?", (time.time(), key))
            return _from_text(row[0])
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError):
            return None

    def _put(self, key: str, verdict: Verdict, files: Mapping[str, str]) -> None:
        try:
            text = _to_text(verdict)
            with closing(self._open()) as base, base:
                now = time.time()
                base.execute("DELETE FROM verdicts WHERE used < ?", (now - DAYS * 86400,))
                base.execute("REPLACE INTO verdicts VALUES (?, ?, ?, ?)", (key, text, json.dumps(files), now))
        except (sqlite3.Error, OSError, TypeError):
            return

    def _open(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        ignored = self.file.parent / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
        base = sqlite3.connect(self.file, timeout=10.0)
        base.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT, files TEXT, used REAL)")
        return base


def _to_text(v: Verdict) -> str:
    """A PASS as JSON, without drawings. Raises TypeError for facts that are no plain data."""
    return json.dumps(asdict(replace(v, outcome=str(v.outcome), forward=None, backward=None)))  # type: ignore[arg-type]


def _from_text(text: str) -> Verdict:
    """The verdict of `_to_text`. Raises ValueError, TypeError or KeyError for any other text."""
    data: dict[str, Any] = json.loads(text)
    if data["outcome"] != str(Outcome.PASS):
        raise ValueError("no PASS")
    data |= {
        "outcome": Outcome.PASS,
        "comparisons": tuple(Comparison(**{**c, "worst": _element(c["worst"])}) for c in data["comparisons"]),
        "formula": data["formula"] and Formula(**{**data["formula"], "worst": _element(data["formula"]["worst"])}),
        "coverage": _coverage(data["coverage"]),
        "notes": tuple(data["notes"]),
        "facts": {**data["facts"], CACHED: True},
        "seconds": 0.0,
    }
    return Verdict(**data)


def _element(data: dict[str, Any] | None) -> Element | None:
    return None if data is None else Element(**{**data, "index": tuple(data["index"])})


def _coverage(data: dict[str, Any] | None) -> Coverage | None:
    if data is None:
        return None
    texts = {key: tuple(data[key]) for key in ("open", "unreachable")}
    return Coverage(data["branches"], data["taken"], **texts)
