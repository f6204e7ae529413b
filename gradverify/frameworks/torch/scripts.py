"""A script that asks PyTorch for the gradient of a recorded call, without gradverify."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...core.imports import root_of
from ..watching import Sample, Script
from .arrays import to_numpy

TEXT = '''\
"""The gradient of {name} at a recorded call, and the slope of the function itself along random directions."""
{path}
import pathlib

import numpy as np
import torch
from {module} import {head}

saved = np.load(pathlib.Path(__file__).parent / "inputs.npz")


def tensor(name, dtype, requires_grad):
    return torch.from_numpy(saved[name]).to(dtype).requires_grad_(requires_grad)


{tensors}


def call({parameters}):
    out = {qualname}.apply({arguments})
    return [o for o in (out if isinstance(out, tuple) else (out,)) if torch.is_tensor(o) and o.is_floating_point()]


leaves = [{leaves}]
cotangent = [torch.from_numpy(saved[f"cotangent{{k}}"]) for k in range({outputs})]
outs = [(o, g.to(o.dtype)) for o, g in zip(call(*leaves), cotangent) if o.requires_grad]
got = torch.autograd.grad([o for o, _ in outs], leaves, [g for _, g in outs], allow_unused=True)
for name, g in zip({names!r}, got):
    print(f"d{{name}} =", g)


def value(*tensors):
    with torch.no_grad():
        return sum((o.double() * g.double()).sum() for o, g in zip(call(*tensors), cotangent)).item()


torch.manual_seed(0)
directions = [torch.randn_like(x) for x in leaves]
rule = sum((g.double() * u.double()).sum().item() for g, u in zip(got, directions) if g is not None)
print("slope by the backward pass:", rule)
for h in (1e-1, 1e-2, 1e-3, 1e-4):
    ahead, behind = ([(x + s * h * u).detach() for x, u in zip(leaves, directions)] for s in (1, -1))
    print(f"slope by differences, step {{h:g}}:", (value(*ahead) - value(*behind)) / (2 * h))
'''


def script(sample: Sample) -> Script | None:
    """The script; None where the definition cannot be imported, or an argument is neither a tensor nor a plain value."""
    definition = sample.definition
    if not definition.importable or sample.by_identity or definition.module == "__main__":
        return None
    arrays: dict[str, np.ndarray] = {}
    lines, arguments = [], []
    for k, (name, value) in enumerate(sample.whole):
        if isinstance(value, torch.Tensor):
            variable = f"x{k}"
            array = to_numpy(value)
            arrays[variable] = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            lines.append(f"{variable} = tensor({variable!r}, {value.dtype}, {name in sample.names})  # {name}")
            arguments.append(variable)
        elif _is_literal(value):
            arguments.append(f"{value!r}")
        else:
            return None
    cotangent = sample.cotangent() or _drawn(sample)
    arrays |= {f"cotangent{k}": g for k, g in enumerate(cotangent)}
    leaves = [
        f"x{k}"
        for k, (name, value) in enumerate(sample.whole)
        if isinstance(value, torch.Tensor) and name in sample.names
    ]
    qualname = definition.name.removeprefix(f"{definition.module}.")
    text = TEXT.format(
        name=definition.name, module=definition.module, head=qualname.split(".")[0], qualname=qualname,
        tensors="\n".join(lines), parameters=", ".join(leaves), arguments=", ".join(arguments), leaves=", ".join(leaves),
        outputs=len(cotangent), names=list(sample.names), path=_path(definition.module, definition.file),
    )  # fmt: skip
    return Script(text, arrays)


def _is_literal(x: Any) -> bool:
    if isinstance(x, tuple | list):
        return all(map(_is_literal, x))
    return isinstance(x, bool | int | str | type(None) | torch.dtype) or (isinstance(x, float) and np.isfinite(x))


def _drawn(sample: Sample) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape, _ in sample.outputs)


def _path(module: str, file: str) -> str:
    """The lines that put the folder of a file that is no installed package on the path."""
    root = root_of(module, file)
    return f"import sys\n\nsys.path.insert(0, {root!r})" if root else ""
