"""The engine beside PyTorch, HIPS autograd and NumPy by hand: CPU time of the same work, side by side in one run.

    python bench/engine.py [scalar] [elementwise] [mlp] [resnet] [gpt] [--threads N]

All libraries run on one thread, or on N (PyTorch and BLAS are told before they load). The candidates take turns, round after
round, so that whatever else the machine does hits all of them; the figure is the fastest round of each, in process time, and
with several threads by the clock.
Memory is the peak that tracemalloc sees (NumPy reports its arrays to it) beyond what was there before.
"""

from __future__ import annotations

import os
import sys
import time

THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "1"
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = THREADS
clock = time.process_time if THREADS == "1" else time.perf_counter

import tracemalloc  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

import gradverify.engine as engine  # noqa: E402
import gradverify.engine.models  # noqa: E402

try:
    import torch

    torch.set_num_threads(int(THREADS))
except ImportError:
    torch = None
try:
    import autograd
    import autograd.numpy as anp
except ImportError:
    autograd = None

Candidates = dict[str, Callable[[], Any]]


def timed(candidates: Candidates, rounds: int) -> dict[str, float]:
    """Seconds of the fastest round of each, the rounds interleaved; one round to warm up."""
    best = dict.fromkeys(candidates, float("inf"))
    for k in range(rounds + 1):
        for name, run in candidates.items():
            start = clock()
            run()
            if k:
                best[name] = min(best[name], clock() - start)
    return best


def show(title: str, seconds: dict[str, float], aims: dict[str, float]) -> None:
    print(f"\n{title}")
    for name, s in seconds.items():
        print(f"  {name:22s} {s * 1e3:10.2f} ms   {s / seconds['engine']:6.2f} x the engine")
    for other, aim in aims.items():
        if other in seconds:
            ratio = seconds["engine"] / seconds[other]
            print(f"  engine / {other}: {ratio:.2f} (aim: at most {aim:g}) {'met' if ratio <= aim else 'MISSED'}")


# ---- 1000 scalar ops --------------------------------------------------------------------------------------------


def scalar() -> None:
    def chain(t: Any) -> None:
        x, y = t.tensor(0.5, requires_grad=True), t.tensor(0.3, requires_grad=True)
        z = x
        for _ in range(333):
            z = t.tanh(z * y + x)
        z.backward()

    candidates: Candidates = {"engine": lambda: chain(engine)}
    if torch is not None:
        candidates["torch"] = lambda: chain(torch)
    if autograd is not None:

        def f(x: float, y: float) -> float:
            z = x
            for _ in range(333):
                z = anp.tanh(z * y + x)
            return z

        g = autograd.grad(f, (0, 1))
        candidates["autograd"] = lambda: g(0.5, 0.3)
    show("1000 scalar mul/add/tanh, forward and backward", timed(candidates, 25), {"torch": 0.5, "autograd": 0.25})


# ---- 200 elementwise ops on 256 x 256 ---------------------------------------------------------------------------


def by_hand(x0: np.ndarray, y: np.ndarray) -> np.ndarray:
    """100 steps of x = tanh(x * y) and their gradient, written in NumPy with the op table's rule for tanh."""
    inner, x = [], x0
    for _ in range(100):
        inner.append(x * y)
        x = np.tanh(inner[-1])
    g = np.ones_like(x)
    while inner:
        c = np.cosh(inner.pop())
        g = g / (c * c)
        g = g * y  # a call of its own, as on the tape: in one expression NumPy would reuse the memory of the quotient
    return g


def elementwise() -> None:
    rng = np.random.default_rng(0)
    x0, y0 = rng.standard_normal((256, 256)), rng.uniform(0.9, 1.1, (256, 256))

    def run(t: Any) -> Any:
        x, y = t.from_numpy(x0.copy()).requires_grad_(), t.from_numpy(y0)
        z = x
        for _ in range(100):
            z = t.tanh(z * y)
        z.sum().backward()
        return x.grad

    assert np.allclose(run(engine).numpy(), by_hand(x0, y0), rtol=1e-12)
    candidates: Candidates = {"engine": lambda: run(engine), "numpy by hand": lambda: by_hand(x0, y0)}
    if torch is not None:
        candidates["torch"] = lambda: run(torch)
    show("200 elementwise ops on 256 x 256 float64", timed(candidates, 7), {"numpy by hand": 1.0})
    peaks = {}
    for name in ("engine", "numpy by hand"):
        tracemalloc.start()
        candidates[name]()
        peaks[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # tanh's rule reads its argument, and the product's reads y, which is there anyway: 100 saved arrays, and the two
    # that are in work when the peak is reached (the input's copy is counted too).
    need = (100 + 3) * x0.nbytes
    print(f"  peak memory: engine {peaks['engine'] / 2**20:.1f} MiB, by hand {peaks['numpy by hand'] / 2**20:.1f} MiB, "
          f"the saved arrays need {need / 2**20:.1f} MiB")  # fmt: skip


# ---- the MLP ----------------------------------------------------------------------------------------------------


def mlp() -> None:
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(s).astype(np.float32) for s in ((32, 1000), (32, 2), (1000, 100), (100, 2))]

    def train(t: Any) -> None:
        x, y, w1, w2 = (t.tensor(d) for d in data)
        w1.requires_grad_()
        w2.requires_grad_()
        relu = t.nn.ReLU()
        for _ in range(500):
            loss = (relu(x.mm(w1)).mm(w2) - y).pow(2).sum()
            loss.backward()
            with t.no_grad():
                w1 -= 1e-6 * w1.grad
                w2 -= 1e-6 * w2.grad
                w1.grad.zero_()
                w2.grad.zero_()

    candidates: Candidates = {"engine": lambda: train(engine)}
    if torch is not None:
        candidates["torch"] = lambda: train(torch)
    show("MLP 32x1000 -> 100 -> 2, 500 iterations, float32", timed(candidates, 5), {"torch": 0.8})


# ---- ResNet-18 --------------------------------------------------------------------------------------------------


def resnet() -> None:
    def step(t: Any, model: Any, x: np.ndarray) -> None:
        model.zero_grad()
        model(t.tensor(x)).sum().backward()

    x = np.random.default_rng(0).random((8, 3, 64, 64)).astype(np.float32)
    mine = gradverify.engine.models.resnet18()
    candidates: Candidates = {"engine": lambda: step(engine, mine, x)}
    if torch is not None:
        # The same source over torch.nn.
        text = Path(gradverify.engine.models.__file__).read_text()
        scope: dict[str, Any] = {}
        exec(
            text.replace("from . import nn", "from torch import nn").replace("from __future__ import annotations", ""),
            scope,
        )
        theirs = scope["resnet18"]()
        candidates["torch"] = lambda: step(torch, theirs, x)
    show("ResNet-18 at 64 x 64, batch 8, forward and backward", timed(candidates, 4), {"torch": 1.5})


# ---- a block of a small GPT -----------------------------------------------------------------------------------------


def gpt() -> None:
    def make(t: Any) -> Callable[[], Any]:
        n, heads, length, batch = 64, 4, 64, 8
        t.manual_seed(0)
        nn = t.nn
        qkv, out, up, down = nn.Linear(n, 3 * n), nn.Linear(n, n), nn.Linear(n, 4 * n), nn.Linear(4 * n, n)
        first, second = nn.LayerNorm(n), nn.LayerNorm(n)
        mask = t.tril(t.ones(length, length)) == 0
        x0 = t.tensor(np.random.default_rng(0).standard_normal((batch, length, n)).astype(np.float32))
        parts = [p for layer in (qkv, out, up, down, first, second) for p in layer.parameters()]

        def step() -> None:
            for p in parts:
                p.grad = None
            x = x0.clone().requires_grad_()
            q, k, v = (a.view(batch, length, heads, n // heads).transpose(1, 2) for a in qkv(first(x)).split(n, dim=2))
            scores = (q @ k.transpose(-2, -1)) * (n // heads) ** -0.5
            weights = t.softmax(scores.masked_fill(mask, float("-inf")), -1)
            mixed = (weights @ v).transpose(1, 2).contiguous().view(batch, length, n)
            x = x + out(mixed)
            x = x + down(nn.functional.gelu(up(second(x))))
            x.pow(2).mean().backward()

        return step

    candidates: Candidates = {"engine": make(engine)}
    if torch is not None:
        candidates["torch"] = make(torch)
    show("A block of a small GPT (64 wide, 4 heads, 8 x 64 tokens), forward and backward", timed(candidates, 15),
         {"torch": 2.0})  # fmt: skip


WORK = {"scalar": scalar, "elementwise": elementwise, "mlp": mlp, "resnet": resnet, "gpt": gpt}

if __name__ == "__main__":
    for name in [name for name in WORK if name in sys.argv] or WORK:
        WORK[name]()
