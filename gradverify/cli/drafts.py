"""Tests drafted for custom gradients: a call of each that runs is looked for, by trying."""

from __future__ import annotations

import inspect
import itertools
import keyword
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..api import check
from ..core.errors import JUDGED, BadInput
from ..core.outcome import Outcome
from ..core.verdict import Verdict
from ..frameworks.base import Framework
from ..frameworks.customs import Custom, Draws

SHAPES = ((2, 3), (3,), (3, 3), (), (2, 3, 4), (1, 2, 4, 4))
"""Of drawn arrays, the likeliest first: small, and no length twice where that can be."""

INTEGERS = ((2,), (3,), (2, 3))

NUMBERS = ("0.5", "2", "1", "0", "None", "True")
"""Numbers that may be meant. 1.0 is none of them: nobody sees that a factor of 1 is forgotten."""

SCALARS = frozenset(
    "alpha axis beta delta dilation dim dropout eps epsilon factor gamma groups k lam lambd margin momentum n "
    "negative_slope num_groups p padding power prob rate scale scaling sigma size slope smoothing stride tau temp "
    "temperature threshold".split()
)
"""Names of what is one number as a rule; an array without dimensions where the backward pass has a gradient for it."""

TRIALS, SECONDS = 80, 20.0
"""Calls of one function at most, and the time for them."""

BY_ANNOTATION = {"int": ("1", "2", "0"), "float": ("0.5", "1.0"), "bool": ("False", "True"), "str": ('"mean"', '"sum"')}


@dataclass(frozen=True)
class Draft:
    """A custom gradient, and the call that was found for it.

    values   the text of each argument; () where no call was found
    verdict  on that call
    why      no call was found
    """

    custom: Custom
    values: tuple[str, ...] = ()
    verdict: Verdict | None = None
    why: str = ""


def draft(custom: Custom, framework: Framework) -> Draft:
    """Try calls until one can be judged."""
    if not custom.parameters:
        return Draft(custom, why="its forward pass has no parameters that can be read")
    errors: list[str] = []
    undecided = None
    end = time.perf_counter() + SECONDS
    for values in itertools.islice(_calls(custom), TRIALS):
        if time.perf_counter() > end:
            errors.append(f"{SECONDS:g} s are over")
            break
        try:
            verdict = check(
                custom.call, *(_value(v, framework) for v in values), effort="quick", order=1, time_limit=5.0
            )
        except BadInput as e:
            errors.append(str(e).splitlines()[0])
            continue
        except JUDGED as e:
            errors.append(f"{type(e).__name__}: {e}".splitlines()[0])
            continue
        if verdict.outcome is not Outcome.INCONCLUSIVE:
            return Draft(custom, values, verdict)
        undecided = undecided or Draft(custom, values, verdict)
    return undecided or Draft(custom, why=max(set(errors), key=errors.count) if errors else "it takes no array")


def _calls(custom: Custom) -> Iterator[tuple[str, ...]]:
    """Texts of the arguments, those first that take the likeliest of each."""
    options = [_options(p, custom.gradients.get(p.name)) for p in custom.parameters]
    reach = max(len(o) for o in options)
    for total in range(reach * len(options)):
        for chosen in itertools.product(*(range(min(len(o), total + 1)) for o in options)):
            if sum(chosen) == total:
                yield tuple(o[k] for o, k in zip(options, chosen))


def _options(p: inspect.Parameter, has_gradient: bool | None) -> tuple[str, ...]:
    """Texts of one argument, the likeliest first. `has_gradient`: by the source of the backward pass, where it tells."""
    arrays = tuple(f"draw({', '.join(map(str, s))})" for s in SHAPES)
    integers = tuple(f"integers({', '.join(map(str, s))})" for s in INTEGERS)
    if p.default is not p.empty:
        text = repr(p.default)
        return (text,) if p.default is None or isinstance(p.default, bool | int | float | str) else ("None",)
    words = str(getattr(p.annotation, "__name__", p.annotation))
    if words in BY_ANNOTATION:
        return BY_ANNOTATION[words]
    if any(part in p.name.lower() for part in ("target", "label", "index", "indices", "ids")):
        return (*integers, *arrays)
    if p.name.lower().strip("_") in SCALARS:
        return ("draw()", *NUMBERS, *arrays[:2]) if has_gradient else (*NUMBERS, "draw()", *arrays[:2])
    if has_gradient is False:
        return (*NUMBERS, *integers, *arrays)
    return (*arrays, *NUMBERS, *integers)


def _value(text: str, framework: Framework) -> Any:
    def draw(*shape: int) -> Any:
        return framework.put(np.asarray(np.random.default_rng(0).standard_normal(shape), np.float32))

    def integers(*shape: int) -> Any:
        return framework.put(np.asarray(np.random.default_rng(0).integers(0, 2, shape)))

    return eval(text, {"draw": draw, "integers": integers})  # a text of this module


HEAD = '''"""Drafted by `gradverify write {module}`: look at the arguments.

Give values of every sort that a function tells apart: both sides of each branch.
"""

{imports}
import {module}


def draw(*shape, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return {array}


def integers(*shape, seed=0):
    values = np.random.default_rng(seed).integers(0, 2, shape)
    return {array}
'''


def text_of(module: str, draws: Draws, drafts: Sequence[Draft]) -> str:
    """The test file of one module, whose custom gradients are all of one framework."""
    skips = any(not d.values for d in drafts)
    third = sorted(
        {"import numpy as np", *draws.imports, *(["import pytest"] if skips else [])} - {"import gradverify"}
    )
    imports = "\n".join([*third, "", "import gradverify"]).replace("\nimport gradverify.engine as engine", "")
    if "import gradverify.engine as engine" in third:
        imports += "\nimport gradverify.engine as engine"
    parts = [HEAD.format(module=module, imports=imports, array=draws.array.format(values="values"))]
    names: dict[str, int] = {}
    for d in drafts:
        name = d.custom.name.lower()
        names[name] = names.get(name, 0) + 1
        lines = [f"def test_{name}{names[name] if names[name] > 1 else ''}():"]
        function = f"{module}.{d.custom.name}{d.custom.suffix}"
        if not d.values:
            lines += [f"    pytest.skip({('no call was found: ' + d.why)!r})"]
            lines += [f"    gradverify.assert_gradients({function}, ...)"]
        else:
            own = [f"{p.name}_" if keyword.iskeyword(p.name) else p.name for p in d.custom.parameters]
            lines += [f"    {n} = {v}" for n, v in zip(own, d.values)]
            lines += [f"    gradverify.assert_gradients({function}, {', '.join(own)})"]
        parts.append("\n".join(lines) + "\n")
    return "\n\n".join(parts)
