"""CuPy reads the same text as NumPy: every array call that the op table makes exists there, with the same signature.

The calls are recorded from NumPy runs of every op, forward and backward. Nothing is simulated: where CuPy is not installed,
only the recording itself is tested; where there is a GPU, the ops run on it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import warnings
import zlib
from typing import Any

import numpy as np
import pytest

import gradverify.engine as torch
from gradverify.core.op import OpSpec
from gradverify.engine.rules import Kernels
from gradverify.namespaces import special
from gradverify.ops import FAMILIES, OPS
from gradverify.testing.images import draw
from gradverify.testing.ops import _samples

Call = tuple[str, int, frozenset[str]]  # dotted name, number of positional arguments, names of keywords


class Watched:
    """NumPy, with a note of every call."""

    def __init__(self, module: Any, calls: set[Call], prefix: str = "") -> None:
        self._module, self._calls, self._prefix = module, calls, prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if inspect.ismodule(found) or name in ("add", "maximum"):  # ufuncs are watched for their `at`
            return Watched(found, self._calls, f"{self._prefix}{name}.")
        return self._noted(f"{self._prefix}{name}", found) if callable(found) and not isinstance(found, type) else found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._noted(self._prefix[:-1], self._module)(*args, **kwargs)

    def _noted(self, name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.add((name, len(args), frozenset(kwargs)))
            return function(*args, **kwargs)

        return call


class WatchedKernels(Kernels):
    """Special functions are the project's own over NumPy, and cupyx's over CuPy: noted under the name they have there."""

    calls: set[Call]

    def _special(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            there = {"lgamma": "gammaln"}.get(name, name)
            self.calls.add((f"cupyx.scipy.special.{there}", len(args), frozenset()))
            return special.polygamma(*reversed(args)) if name == "polygamma" else getattr(special, name)(*args)

        return call


def points(spec: OpSpec) -> Any:
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    if spec.name == "einsum":
        yield (rng.standard_normal((2, 3)), rng.standard_normal((3, 2))), {"subscripts": "ij,jk->ik"}
        return
    drawn = draw(spec.name) if spec in FAMILIES["neural"] else None
    for sample in _samples(spec, rng, 4, "float32", drawn):
        yield sample.args, sample.params


def recorded_calls() -> set[Call]:
    calls: set[Call] = set()
    xp = WatchedKernels(Watched(np, calls))
    xp.calls = calls
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for spec in OPS.values():
            for args, params in points(spec):
                out = spec.define(xp, *args, **params)
                if spec.vjp is None:
                    continue
                for i in range(len(args)):
                    if spec.differentiable(i):
                        spec.cotangent(xp, i, np.ones_like(out), out, args, params)
    return calls


def test_the_recording_sees_the_calls() -> None:
    names = {name for name, *_ in recorded_calls()}
    assert {"tanh", "linalg.solve", "add.at", "concatenate", "where", "take_along_axis"} <= names


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_cupy_has_every_call() -> None:
    import cupy

    missing = []
    for name, count, keywords in sorted(recorded_calls(), key=lambda c: (c[0], c[1], sorted(c[2]))):
        path = name.split(".")
        function: Any = importlib.import_module("cupyx.scipy.special") if path[0] == "cupyx" else cupy
        for part in path[-1:] if path[0] == "cupyx" else path:
            function = getattr(function, part, None)
        if function is None:
            missing.append(f"{name} is not there")
            continue
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            continue  # a ufunc: what it takes is the same everywhere
        try:
            signature.bind(*[None] * count, **dict.fromkeys(keywords))
        except TypeError as error:
            missing.append(f"{name} called with {count} arguments and {sorted(keywords)}: {error}")
    assert not missing, "\n".join(missing)


@pytest.mark.gpu
def test_ops_run_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device, or no CuPy")
    x = torch.tensor(np.linspace(-1, 1, 12).reshape(3, 4), device="cuda", requires_grad=True)
    assert x.device.type == "cuda"
    y = (torch.softmax(x @ x.T, 1) * torch.tanh(x).sum(1)).mean()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    z = x.detach().cpu().requires_grad_()
    w = (torch.softmax(z @ z.T, 1) * torch.tanh(z).sum(1)).mean()
    (g2,) = torch.autograd.grad(w, z, create_graph=True)
    (h2,) = torch.autograd.grad(g2.sum(), z)
    # a dozen operations, each within a few ulps on either device
    for a, b in ((y, w), (g, g2), (h, h2)):
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_asking_for_a_gpu_that_is_not_there_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="No CUDA device is available"):
        torch.ones(2).cuda()
    with pytest.raises(RuntimeError, match="No CUDA device is available"):
        torch.tensor([1.0], device="cuda")
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        torch.device("tpu")
