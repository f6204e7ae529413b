"""What a judgement says: one sentence, got and want, file and line, the first test, and how to see it again."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.outcome import Outcome
from ..core.wording import WIDTH, evidence, glance, wrapped
from ..frameworks.registry import of_functions
from ..report.folder import REPORT, REPRODUCER, more, save
from .judge import Judged
from .pins import FILE, pin_of

INPUTS = "inputs.npz"
"""The arrays that a reproducer reads."""


def told(judged: Judged, root: Path, *, whole: bool = False) -> str:
    """The judgement in a few lines, with its evidence and a reproducer saved below `root`.

    With `whole`, and where nothing can be saved, all evidence.
    """
    everything = "\n".join(_lines(judged, whole=True))
    sample = judged.sample
    found = of_functions(sample.definition.framework).script(sample)
    files: dict[str, str | bytes] = {REPORT: everything + "\n"}
    if found is not None:
        files |= {REPRODUCER: found.text, INPUTS: _npz(found.arrays)}
    folder = save(root, sample.definition.name.rpartition(".")[2], files, of=f"{sample.id}{sample.fixed}")
    if whole or folder is None:
        return everything
    return "\n".join([*_lines(judged), f"more: {more(folder)}"])


def look_lines(looks: Sequence[str]) -> Iterator[str]:
    """What the probes found, below one heading."""
    if looks:
        yield "look at this: found beyond what was run, and gates nothing"
        yield from (f"  {line}" for text in looks for line in wrapped(text, WIDTH - 2))


def left_lines(ids: Sequence[str], hint: str = "") -> Iterator[str]:
    """What there was no time to judge: how many calls of which definitions."""
    if ids:
        counts = Counter(id.partition("[")[0] for id in ids)
        calls = ", ".join(f"{n} of {name}" for name, n in counts.most_common())
        yield from wrapped(f"not judged, since the time for it was over{hint}: {len(ids)} calls ({calls})")


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)  # type: ignore[arg-type]
    return made.getvalue()


def _lines(judged: Judged, *, whole: bool = False) -> Iterator[str]:
    sample = judged.sample
    definition = sample.definition
    # Its point is a recorded call: the shapes stand in its name, and the values are saved.
    verdict = replace(judged.verdict, case=sample.id, subject="", source=definition.backward, point="")
    yield from (evidence if whole else glance)(verdict)
    if judged.intent is not None and judged.intent.text not in verdict.message:
        yield from wrapped(judged.intent.text)
    with_what = f", with {sample.fixed}" if sample.fixed else ""
    under = f", under {', '.join(sample.modes)}" if sample.modes else ""
    yield from wrapped(f"first run by {sample.first}{with_what}{under}")
    if verdict.outcome is Outcome.FAIL and judged.intent is not None:
        yield f"if that is meant, pin it: gradverify pin, or in {FILE}"
        yield f'  [pin."{definition.name}"]'
        yield f'  kind = "{judged.intent.kind}"'
        yield '  reason = "…"'
    if whole and definition.forward:
        yield f"forward: {definition.forward}"
    yield from (f"look at this: {text}" for text in judged.looks)
    yield from (line for text in dict.fromkeys(judged.notes) for line in wrapped(f"note: {text}"))


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
