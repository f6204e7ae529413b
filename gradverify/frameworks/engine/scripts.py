"""A script that asks the engine for the gradient of a recorded call, without the judge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.imports import root_of
from ...engine.tensor import Tensor
from ..watching import Sample, Script

TEXT = '''\
"""The gradient of {name} at a recorded call, and the slope of the function itself along random directions."""
{path}
import pathlib

import numpy as np
from gradverify import engine
from {module} import {head}

saved = np.load(pathlib.Path(__file__).parent / "inputs.npz")


def call({parameters}):
    out = {qualname}.apply({arguments})
    return [o for o in (out if isinstance(out, tuple) else (out,)) if o.detach().numpy().dtype.kind == "f"]


names = {names!r}
arrays = [saved[variable] for variable in {leaves!r}]
cotangent = [saved[f"cotangent{{k}}"] for k in range({outputs})]
leaves = [engine.tensor(x, requires_grad=True) for x in arrays]
outs = [(o, engine.tensor(g)) for o, g in zip(call(*leaves), cotangent) if o.requires_grad]
got = engine.autograd.grad([o for o, _ in outs], leaves, [g for _, g in outs], allow_unused=True)
for name, g in zip(names, got):
    print(f"d{{name}} =", g)


def value(*arrays):
    with engine.no_grad():
        outs = call(*map(engine.tensor, arrays))
    return sum(float((o.numpy().astype(np.float64) * g).sum()) for o, g in zip(outs, cotangent))


rng = np.random.default_rng(0)
directions = [rng.standard_normal(x.shape).astype(x.dtype) for x in arrays]
rule = sum(float((g.numpy().astype(np.float64) * u).sum()) for g, u in zip(got, directions) if g is not None)
print("slope by the backward pass:", rule)
for h in (1e-1, 1e-2, 1e-3, 1e-4):
    ahead, behind = ([(x + s * h * u).astype(x.dtype) for x, u in zip(arrays, directions)] for s in (1, -1))
    print(f"slope by differences, step {{h:g}}:", (value(*ahead) - value(*behind)) / (2 * h))
'''


def script(sample: Sample) -> Script | None:
    """The script; None where the definition cannot be imported, or an argument is neither a tensor nor a plain value."""
    definition = sample.definition
    if not definition.importable or definition.module == "__main__":
        return None
    arrays: dict[str, np.ndarray] = {}
    arguments, leaves = [], []
    for k, (name, value) in enumerate(sample.whole):
        if isinstance(value, Tensor):
            arrays[f"x{k}"] = value.detach().numpy()
            arguments.append(f"x{k}" if name in sample.names else f'engine.tensor(saved["x{k}"])')
            leaves += [f"x{k}"] * (name in sample.names)
        elif _is_literal(value):
            arguments.append(repr(value))
        else:
            return None
    rng = np.random.default_rng(0)
    cotangent = sample.cotangent() or tuple(rng.standard_normal(shape).astype(dtype) for shape, dtype in sample.outputs)
    arrays |= {f"cotangent{k}": g for k, g in enumerate(cotangent)}
    qualname = definition.name.removeprefix(f"{definition.module}.")
    root = root_of(definition.module, definition.file)
    text = TEXT.format(
        name=definition.name, module=definition.module, head=qualname.split(".")[0], qualname=qualname,
        parameters=", ".join(leaves), arguments=", ".join(arguments), leaves=leaves, outputs=len(cotangent),
        names=list(sample.names), path=f"import sys\n\nsys.path.insert(0, {root!r})" if root else "",
    )  # fmt: skip
    return Script(text, arrays)


def _is_literal(x: Any) -> bool:
    if isinstance(x, tuple | list):
        return all(map(_is_literal, x))
    return isinstance(x, bool | int | str | type(None)) or (isinstance(x, float) and math.isfinite(x))
