"""Tests drafted for the kernels of a file: its `@triton.jit` functions, the Functions that launch them, and with what.

The file's text says which kernels the forward and the backward pass launch, which parameters are tensors (by annotation, or
by how they are used) and how many axes some have (`reading`). What it does not say is tried, or taken from a recorded call
(`calls`). What is left is said.
"""

from __future__ import annotations

from .reading import Drafted, Kernels

HEAD = '''"""Drafted by `gradverify kernel {file}`: look at the arguments, and at what could not be worked out."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported

import pytest
import torch

import gradverify
from {module} import {names}


def draw(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()


def integers(*shape):
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))
'''


def written(found: Kernels, file: str, module: str) -> str:
    """The test file; "" where there is no Function to test."""
    known = [f for f in found.functions if f.importable]
    if not known:
        return ""
    names = ", ".join(f.name for f in known)
    head = HEAD.format(file=file, module=module, names=names)
    if all(f.values is not None for f in known):
        head = head.replace("import pytest\n", "")
    return "\n\n".join([head, *map(_test, known)])


def _test(f: Drafted) -> str:
    lines = []
    if f.values is None:
        lines.append('@pytest.mark.skip(reason="drafted: no call of it was found")')
    passes = (("Forward", f.forward), ("backward", f.backward))
    said = "; ".join(f"{name}: {', '.join(kernels) or 'no kernel'}" for name, kernels in passes)
    lines += [f"def test_{f.name.lower()}():", f'    """{said}."""']
    lines += [f"    # TODO {' '.join(u.split())}" for u in (*f.notes, *f.unknown)]
    values = f.values or tuple(a.text if a.kind == "literal" and a.text else "..." for a in f.arguments)
    lines += [f"    {a.name} = {v}" for a, v in zip(f.arguments, values)]
    call = ", ".join([f"{f.name}.apply", *(a.name for a in f.arguments)])
    if f.backward and not f.once:
        lines.append(
            "    # Second derivatives are lost in silence: mark backward once_differentiable, then leave out order=1."
        )
        call += ", order=1"
    lines += [f"    verdict = gradverify.check({call})", "    assert verdict, verdict"]
    return "\n".join(lines) + "\n"
