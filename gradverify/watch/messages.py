"""What a judgement says: one sentence, got and want, file and line, the first test, and how to see it again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.outcome import Outcome
from ..frameworks.registry import of_functions
from .judge import Judged
from .pins import FILE, pin_of

FOLDER = ".gradverify"
"""Where reproducers are saved, below the project's root. It keeps itself out of version control."""


def lines(judged: Judged, script: Path | None = None) -> Iterator[str]:
    """The judgement, line by line."""
    sample, verdict = judged.sample, judged.verdict
    definition = sample.definition
    kind = f" ({verdict.kind})" if verdict.kind else ""
    yield f"{verdict.outcome}{kind}: {sample.id}"
    if verdict.message:
        yield verdict.message
    if verdict.outcome is Outcome.INCONCLUSIVE and verdict.reason:
        yield f"reason: {verdict.reason}"
    if judged.intent is not None and judged.intent.text not in verdict.message:
        yield judged.intent.text
    for c in verdict.comparisons:
        if c.failing and c.worst:
            yield f"  {c.worst.where}, one of {c.failing} of {c.size} entries that are off"
            yield f"    got   {c.worst.got}"
            yield f"    want  {c.worst.want}"
    yield f"backward  {definition.backward or '(no source)'}" + (
        f", forward {definition.forward}" if definition.forward else ""
    )
    yield f"first run by {sample.first}" + (f", with {sample.fixed}" if sample.fixed else "")
    if sample.modes:
        yield f"under {', '.join(sample.modes)}"
    if script is not None:
        yield f"see it again: python {script}"
    if verdict.outcome is Outcome.FAIL and judged.intent is not None:
        yield f"if that is meant, pin it: gradverify pin, or in {FILE}"
        yield f'  [pin."{definition.name}"]'
        yield f'  kind = "{judged.intent.kind}"'
        yield '  reason = "…"'
    yield from (f"look at this: {text}" for text in judged.looks)
    yield from (f"note: {text}" for text in dict.fromkeys((*judged.notes, *verdict.notes)))


def facts(judged: Judged) -> dict[str, object]:
    """What a report holds of a judgement besides its verdict: enough for `gradverify pin`."""
    pin = pin_of(judged) if judged.verdict.outcome in (Outcome.FAIL, Outcome.SURROGATE) else None
    sample = judged.sample
    return {
        "definition": sample.definition.name,
        "signature": sample.signature,
        "backward": sample.definition.backward,
        "first": sample.first,
        "looks": list(judged.looks),
        "intent": judged.intent.kind if judged.intent else None,
        "pin": None
        if pin is None
        else {"kind": pin.kind, "factor": pin.factor, "rules": {k: list(v) for k, v in pin.rules.items()}},
    }


def save_script(judged: Judged, root: Path) -> Path | None:
    """Save a reproducer and its inputs below `root`; None where there is none."""
    sample = judged.sample
    found = of_functions(sample.definition.framework).script(sample)
    if found is None:
        return None
    digest = hashlib.blake2b(f"{sample.id}{sample.fixed}".encode(), digest_size=4).hexdigest()
    folder = root / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.]+', '_', sample.definition.name)}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (root / FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
        np.savez(folder / "inputs.npz", **found.arrays)  # type: ignore[arg-type]
        (folder / "reproduce.py").write_text(found.text, encoding="utf-8")
    except OSError:
        return None
    return folder / "reproduce.py"
