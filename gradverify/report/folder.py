"""The folder of what a run leaves behind: a report, a reproducer and a spec for each gradient that is not acceptable."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.wording import WIDTH
from ..run.events import JobJudged
from .evidence import glance, text, with_reproducer
from .files import replace_file

FOLDER = ".gradverify"
"""Below the project's root. It keeps itself out of version control."""

LONGEST = 18
"""Characters of a case's name that its folder's name keeps, so that pytest's line with the path has 79 columns; a digest
tells apart what is alike up to there."""


def save(root: Path, name: str, files: Mapping[str, str | bytes], of: str = "") -> Path | None:
    """Write the files into a folder of their own below `root`, and return it; None where nothing can be written.

    Its name begins with the last part of `name`: of `tests/test_ops.py::test_norm` with `test_norm`.

    `of`, or else `name`, stands for what was judged: another run of the same overwrites the files. Each is replaced as a
    whole, so that a reader never sees half of one.
    """
    digest = hashlib.blake2b((of or name).encode(), digest_size=4).hexdigest()
    short = re.sub(r"[^A-Za-z0-9_.]+", "_", name.rpartition("::")[2])[:LONGEST].strip("_.")
    folder = root / FOLDER / (f"{short}-{digest}" if short else digest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (root / FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
        for file, content in files.items():
            made = folder / f".{file}.{os.getpid()}"
            made.write_bytes(content.encode() if isinstance(content, str) else content)
            made.replace(folder / file)
    except OSError:
        return None
    return folder


LAST = "last.json"
"""The report of the last run: what was not acceptable in it, to be replayed by its id."""


def keep_last(root: Path, data: Mapping[str, Any]) -> None:
    """Keep what was not acceptable in a run; nothing where nothing can be written."""
    kept = {**data, "results": [r for r in data["results"] if not r["ok"]]}
    if not kept["results"] and not (root / FOLDER / LAST).exists():
        return
    try:
        replace_file(root / FOLDER / LAST, json.dumps(kept, allow_nan=False))
        replace_file(root / FOLDER / ".gitignore", "*\n")
    except OSError:
        return


REPORT, REPRODUCER, SPEC = "report.txt", "reproduce.py", "case.grad.yaml"


def told(event: JobJudged, root: Path, *, whole: bool = False, width: int = WIDTH) -> str:
    """The reason why a judged job is not acceptable, in five lines, with its evidence saved below `root`.

    With `whole`, and where nothing can be saved, all evidence.
    """
    event = with_reproducer(event)
    if whole:
        return text(event)
    v = event.verdict
    files = {REPORT: text(event) + "\n", REPRODUCER: v.script, SPEC: v.spec}
    if v.culprit is not None:
        files |= {REPRODUCER: v.culprit.script or v.script, SPEC: v.culprit.spec or v.spec}
    folder = save(root, event.job.id, {name: content for name, content in files.items() if content})
    return text(event) if folder is None else glance(event, more(folder), width)


def more(folder: Path) -> str:
    """Where the rest is, and the script that shows it again, as the last of the five lines says it."""
    near = os.path.relpath(folder)
    shown = Path(folder if near.startswith(os.pardir) else near)
    return f"{shown / REPORT}{f' (and {REPRODUCER})' if (folder / REPRODUCER).exists() else ''}"
