"""Rules that are meant to be no gradient, pinned in `gradverify.toml` or by a decorator. One that changes fails.

[pin."mypkg.ops.Spike"]
kind = "surrogate"
of = "mypkg.ops:soft_spike"          # a function over the same differentiated arguments, whose gradient is meant
reason = "the derivative of a spike is zero almost everywhere"
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.errors import GradverifyError, UnknownName
from ..core.imports import imported
from ..core.outcome import FailKind, Outcome
from ..frameworks.registry import of_functions
from ..frameworks.watching import MEANT, Sample
from ..namespaces.dtypes import FORMATS
from ..run import project
from ..run.project import FILE
from .intent import KINDS
from .judge import Judged, judge_against

HOOK = "hook"
"""The kind of a pin that says that a hook replaces gradients on purpose."""

KEYS = ("kind", "of", "reason", "factor", "rules")

FIGURES = 6
"""Numbers of a rule that a pin keeps, of six digits each: a rule with another shape or scale differs in the first."""


@dataclass(frozen=True, eq=False)
class Pin:
    """What a definition's rule is meant to be.

    kind    of `intent.Intent`, or HOOK
    of      the function whose gradient is meant: "module:name", or a function
    factor  of the kinds factor and identity
    rules   what the rule gives at fixed points, by signature and other arguments
    """

    kind: str
    of: str | Callable[..., Any] = ""
    reason: str = ""
    factor: float | None = None
    rules: Mapping[str, Sequence[float]] = field(default_factory=dict)


Cls = TypeVar("Cls")


def surrogate(*, of: Callable[..., Any]) -> Callable[[Cls], Cls]:
    """Say that a custom gradient is meant to be that of another function, `of`.

    `of` takes the differentiated arguments of the decorated one, and returns what it returns.
    """

    def mark(definition: Cls) -> Cls:
        setattr(definition, MEANT, of)
        return definition

    return mark


def read_pins(folder: Path) -> dict[str, Pin]:
    """The pins of a project, by the definition's name. Raises GradverifyError, with the file, for what makes no sense."""
    found = {}
    for name, (file, entry) in project.named(folder, "pin").items():
        try:
            found[name] = _pin(name, entry)
        except (GradverifyError, ValueError, TypeError) as e:
            raise GradverifyError(f"{file}: {e}") from None
    return found


def _pin(name: str, entry: Mapping[str, Any]) -> Pin:
    for key in entry:
        if key not in KEYS:
            raise UnknownName(f"key of [pin.{name}]", key, KEYS)
    if entry.get("kind") not in (*KINDS, HOOK):
        raise UnknownName("kind of pin", str(entry.get("kind")), (*KINDS, HOOK))
    return Pin(**entry)


def write_pins(folder: Path, pins: Mapping[str, Pin]) -> Path:
    """Add pins to a project's file. Raises GradverifyError for a definition that is pinned there."""
    twice = sorted(set(read_pins(folder)) & set(pins))
    if twice:
        raise GradverifyError(f"{FILE}: take the old pins out first; pinned already: {', '.join(twice)}")
    return project.add(folder, [_text(n, p) for n, p in pins.items()], "What this project means or accepts.")


def _text(name: str, pin: Pin) -> str:
    lines = [f"[pin.{json.dumps(name)}]", f"kind = {json.dumps(pin.kind)}"]
    lines += [f"of = {json.dumps(pin.of)}"] if isinstance(pin.of, str) and pin.of else []
    lines += [f"factor = {pin.factor!r}"] if pin.factor is not None else []
    lines += [f"reason = {json.dumps(pin.reason or 'TODO: say why')}"]
    if pin.rules:
        lines.append(f"[pin.{json.dumps(name)}.rules]")
        lines += [f"{json.dumps(k)} = [{', '.join(map(repr, v))}]" for k, v in pin.rules.items()]
    return "\n".join(lines)


def pin_of(judged: Judged) -> Pin | None:
    """The pin that says that what was found is meant; None where no kind was recognised."""
    if judged.intent is None:
        return None
    figures = rule_figures(judged.sample) if judged.intent.kind != "drawn" else None
    rules = {} if figures is None else {_key(judged.sample): figures}
    return Pin(judged.intent.kind, factor=judged.intent.factor, rules=rules)


def _key(sample: Sample) -> str:
    return f"{sample.signature}; {sample.fixed}" if sample.fixed else sample.signature


def rule_figures(sample: Sample) -> list[float] | None:
    """What the rule gives at a fixed point, as a few sums with fixed weights; None where the call has other arrays."""
    framework = of_functions(sample.definition.framework)
    if sample.by_identity or any(framework.is_array(v) for n, v in sample.whole if n not in sample.names):
        return None
    rng = np.random.default_rng(0)
    like = [framework.get(a) for a in sample.args]
    values = {f"x{k}": rng.uniform(-2, 2, a.shape).astype(a.dtype) for k, a in enumerate(like)}
    dtypes = [np.dtype(a.dtype) for a in like]
    cotangent = tuple(rng.uniform(0.5, 1, shape).astype(dtypes[0]) for shape, _ in sample.outputs)
    seen = framework.run_vjp(sample.function, values, tuple(values), cotangent)
    if seen.raised is not None or not all(d.kind == "f" for d in dtypes):
        return None
    found = [np.asarray(d, dtype=np.float64).ravel() for d in seen.gradients.values() if d is not None]
    flat = np.concatenate(found) if found else np.zeros(0)
    figures = [float(f"{flat @ rng.uniform(-1, 1, flat.size):.6g}") for _ in range(FIGURES)]
    return figures if all(map(math.isfinite, figures)) else None


# ---- a judgement under a pin ----------------------------------------------------------------------------------------


def apply_pin(judged: Judged, pins: Mapping[str, Pin]) -> Judged:
    """The judgement of a definition that may be pinned: SURROGATE where it is what the pin says, FAIL where it changed."""
    sample = judged.sample
    meant = sample.definition.meant
    pin = Pin("surrogate", of=meant) if meant is not None else pins.get(sample.definition.name)
    if pin is None:
        return judged
    if pin.of:
        return _against(judged, pin)
    if judged.intent is None:
        if judged.verdict.outcome is Outcome.PASS:
            return _changed(judged, f"pinned as {pin.kind}, and the rule is the gradient now: take the pin out")
        return judged
    if judged.intent.kind != pin.kind:
        return _changed(
            judged, f"pinned as {pin.kind}, and the rule is of the kind {judged.intent.kind} now: {judged.intent.text}"
        )
    if (
        pin.factor is not None
        and judged.intent.factor is not None
        and not _same(judged, pin.factor, judged.intent.factor)
    ):
        return _changed(
            judged, f"pinned with the factor {pin.factor:g}, and the factor is {judged.intent.factor:g} now"
        )
    known = pin.rules.get(_key(sample))
    figures = rule_figures(sample) if known is not None else None
    if known is not None and figures is not None:
        size = max(map(abs, known), default=0.0)
        if any(abs(a - b) > _digits(sample) * size for a, b in zip(known, figures)):
            return _changed(
                judged, f"the rule has changed since it was pinned: {figures} for {list(known)} at the fixed point"
            )
    message = f"{judged.intent.text} (pinned{': ' + pin.reason if pin.reason else ''})"
    verdict = replace(judged.verdict, outcome=Outcome.SURROGATE, kind=None, message=message)
    return replace(judged, verdict=verdict)


def _digits(sample: Sample) -> float:
    """Half of the digits of the dtype: what another machine computes differs by less, another rule by more."""
    dtype = sample.outputs[0][1] if sample.outputs else "float32"
    return math.sqrt(FORMATS[dtype].roundoff if dtype in FORMATS else 2.0**-24)


def _same(judged: Judged, a: float, b: float) -> bool:
    return abs(a - b) <= _digits(judged.sample) * max(abs(a), abs(b))


def _against(judged: Judged, pin: Pin) -> Judged:
    """The judgement against the gradient of the function that the pin names."""
    name = pin.of if isinstance(pin.of, str) else getattr(pin.of, "__qualname__", repr(pin.of))
    try:
        other = _resolved(pin.of)
    except (ImportError, AttributeError, ValueError) as e:
        return _changed(judged, f"pinned as the gradient of {name}, which cannot be imported: {e}")
    verdict = judge_against(judged.sample, other)
    if verdict.outcome is Outcome.FAIL:
        return _changed(judged, f"pinned as the gradient of {name}, and it is not: {verdict.message}")
    if not verdict:
        return replace(judged, verdict=verdict)
    message = f"the gradient is that of {name}, as it is meant to be{': ' + pin.reason if pin.reason else ''}"
    return replace(judged, verdict=replace(verdict, outcome=Outcome.SURROGATE, kind=None, message=message))


def _resolved(of: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(of, str):
        return of
    found: Callable[..., Any] = imported(of if ":" in of else ":".join(of.rpartition(".")[::2]))
    return found


def _changed(judged: Judged, message: str) -> Judged:
    verdict = replace(judged.verdict, outcome=Outcome.FAIL, kind=FailKind.CLAIM, reason=None, message=message)
    return replace(judged, verdict=verdict)
