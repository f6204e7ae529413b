"""PyTorch as the judge: every script runs under both modules, and everything that it sees must be the same.

A script is a function (torch, see). `see(x)` notes a tensor's value, dtype, shape, flags and grad_fn name, an exception's type
and text, or any plain value. Values may differ by a few ulps, since both libraries round their own way; all else is exact.
"""

# ruff: noqa: E501 (the tables of one-line ops)

from __future__ import annotations

import gc
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify.engine

torch_real = pytest.importorskip("torch")

See = Callable[[Any], None]
SCRIPTS: dict[str, Callable[[Any, See], None]] = {}

ULPS = 8
"""Elementary functions differ by up to 4 ulps between libraries (their own documentation); a chain of two by 8. Doubles are
held to single ulps as well: here the question is whether it is the same function, not how many digits it keeps."""


def script(f: Callable[[Any, See], None]) -> Callable[[Any, See], None]:
    SCRIPTS[f.__name__] = f
    return f


def raises(see: See, f: Callable[[], Any], text: bool = True) -> None:
    """Note the type and, where the text is PyTorch's promise, the first sentence of what `f` raises."""
    try:
        out = f()
    except Exception as e:
        words = re.sub(r"0x[0-9a-f]+", "0x", str(e))
        see((type(e).__name__, words.split(". ")[0] if text else ""))
    else:
        see(("nothing raised", out))


def observed(torch: Any, x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        if x.is_complex():
            x = x.resolve_conj() if hasattr(x, "resolve_conj") else x
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = None if x.grad_fn is None else type(x.grad_fn).__name__
            flags = (str(x.dtype), tuple(x.shape), x.requires_grad, x.is_leaf, name)
        return flags, np.array(x.detach().numpy(), copy=True)
    if isinstance(x, list | tuple):
        return [observed(torch, v) for v in x]
    if isinstance(x, dict):
        return {k: observed(torch, v) for k, v in x.items()}
    if isinstance(x, torch.dtype):
        return str(x)
    return x


def run(torch: Any, body: Callable[[Any, See], None]) -> list[Any]:
    seen: list[Any] = []
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body(torch, lambda x: seen.append(observed(torch, x)))
    return seen


def agree(a: Any, b: Any, where: str) -> None:
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray), where
        assert a.dtype == b.dtype, where
        assert a.shape == b.shape, where
        if a.dtype.kind in "fc":
            a, b = np.atleast_1d(a), np.atleast_1d(b)
            eps = max(np.finfo(a.dtype).eps, np.finfo(np.float32).eps)
            # An entry may be a sum whose terms cancel: then the largest entry sets the scale.
            scale = np.where(np.isfinite(b), np.abs(b), 0)
            with np.errstate(all="ignore"):
                fine = (np.abs(a - b) <= ULPS * eps * np.maximum(scale, scale.max(initial=0) / 8)) | (a == b)
            assert np.all(fine | (np.isnan(a) & np.isnan(b))), f"{where}: engine {a}, PyTorch {b}"
        else:
            assert np.array_equal(a, b), f"{where}: engine {a}, PyTorch {b}"
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        assert len(a) == len(b), f"{where}: engine {a}, PyTorch {b}"
        for k, (x, y) in enumerate(zip(a, b)):
            agree(x, y, f"{where}[{k}]")
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for k in a:
            agree(a[k], b[k], f"{where}[{k!r}]")
    elif isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-6, nan_ok=True), where
    else:
        assert a == b, f"{where}: engine {a!r}, PyTorch {b!r}"


# ---- tensors: flags, leaves, printing -------------------------------------------------------------------------------


@script
def leaves_and_flags(torch: Any, see: See) -> None:
    x = torch.tensor([1.0, 2.0])
    y = torch.tensor([1.0, 2.0], requires_grad=True)
    for t in (x, y, x + y, x * 2, (y * 2).detach(), y.data, y.clone()):
        see(t)
    raises(see, lambda: torch.tensor([1, 2], requires_grad=True))
    raises(see, lambda: torch.tensor([1, 2]).requires_grad_())
    raises(see, lambda: (y * 2).requires_grad_(False))
    see((y * 2).requires_grad_())
    see(y.requires_grad_(False))
    z = torch.ones(2, 2, requires_grad=True)
    see(z.grad)
    see(z.retains_grad)
    see((z * 2).retains_grad)


@script
def printing(torch: Any, see: See) -> None:
    for t in (
        torch.tensor(5.0), torch.tensor(5.0, requires_grad=True), torch.tensor([1.0, 2.5]), torch.tensor([1e-8, 1.0]),
        torch.tensor([1e10, 1.0]), torch.tensor([0.0001, 0.5]), torch.tensor([float("nan"), 1.0]),
        torch.tensor([float("inf"), -1.5]), torch.tensor([float("inf"), 2.0]), torch.tensor([1, 2, -3]),
        torch.tensor([True, False]), torch.tensor([]), torch.zeros(2, 0), torch.zeros(3), torch.tensor([1.0], dtype=torch.float64),
        torch.arange(12).reshape(3, 4), torch.arange(24.0).reshape(2, 3, 4) / 7, torch.arange(2000.0),
        torch.arange(10000.0).reshape(100, 100), torch.tensor([1, 2], dtype=torch.int32), torch.tensor([[1.0, -2.0]]) * 1.5,
        torch.ones(2, 2, requires_grad=True) * 3, torch.tensor([100000.0, 1.0]), torch.tensor([1 + 2j, -0.5j]),
        torch.tensor([123456.789]), torch.tensor([-0.0, 0.0]), torch.tensor(7), torch.tensor(True),
        torch.arange(30.0).reshape(1, 30) / 3, torch.tensor([0.5], dtype=torch.float16), torch.arange(40) * 1000,
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True).exp(), torch.tensor([1e-5]), torch.tensor([999.5, 0.25]),
        torch.tensor([1e38, 1.0]), torch.tensor([2.0, -1.0]), torch.tensor([[-10.0, 2.0], [3.0, 400.0]]), torch.tensor([float("nan")]), torch.tensor([float("inf")]),
    ):  # fmt: skip
        see(str(t))
        see(repr(t))
    see(f"{torch.tensor(1.5):.3f}")
    see(str(torch.Size([2, 3])))
    see(str(torch.float32))
    see(str(torch.device("cpu")))
    see(repr(torch.device("cpu")))
    see(str(torch.nn.Parameter(torch.ones(2))))


@script
def creation(torch: Any, see: See) -> None:
    for t in (
        torch.tensor(1), torch.tensor(1.5), torch.tensor(True), torch.tensor(1j), torch.tensor([[1, 2], [3, 4]]),
        torch.tensor([1, 2.5]), torch.tensor([True, 2]), torch.zeros(2, 3), torch.zeros((2, 3)), torch.ones(2, dtype=torch.int64),
        torch.full((2,), 7), torch.full((2,), 7.0), torch.full((2, 2), True), torch.arange(5), torch.arange(1, 2, 0.25),
        torch.arange(5.0), torch.arange(10, 2, -3), torch.linspace(0, 1, 5), torch.eye(2), torch.eye(2, 3),
        torch.zeros_like(torch.ones(2, dtype=torch.float64)), torch.ones_like(torch.tensor([1, 2])),
        torch.from_numpy(np.arange(3.0)), torch.as_tensor([1.0, 2.0]), torch.tensor(np.float32(1.5)),
        torch.tensor(np.array([1, 2], dtype=np.int32)), torch.tensor([np.float64(1.0)]), torch.empty(0), torch.tensor([[]]),
    ):  # fmt: skip
        see(t)
    raises(see, lambda: torch.tensor([[1, 2], [3]]))
    raises(see, lambda: torch.zeros(-1), text=False)
    raises(see, lambda: torch.tensor("a"), text=False)
    see(tuple(torch.rand(2, 3).shape))
    see(tuple(torch.randn((4,)).shape))
    see(sorted(torch.randperm(5).tolist()))
    a, b = torch.manual_seed(3) and torch.rand(4), torch.manual_seed(3) and torch.rand(4)
    see(torch.equal(a, b))


@script
def promotion(torch: Any, see: See) -> None:
    kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64,
             torch.complex64]  # without complex32: NumPy has none  # fmt: skip
    for a in kinds:
        x = torch.ones(2, dtype=a)
        see((x * 2).dtype)
        see((x * 2.5).dtype)
        if a is not torch.float16:
            see((x * 2j).dtype)
        see((x / 2).dtype)
        see((x + True).dtype)
        see(x.sum().dtype)
        if a not in (torch.complex64,):
            see(x.exp().dtype)
            see((x > 0).dtype)
        for b in kinds:
            if {a, b} != {torch.float16, torch.complex64}:
                see((str(a), str(b), (x + torch.ones(2, dtype=b)).dtype, (x * torch.ones((), dtype=b)).dtype))
    see((torch.tensor(2) ** torch.tensor(2.0)).dtype)
    raises(see, lambda: torch.tensor([1, 2]).mean())
    raises(see, lambda: torch.tensor([True]) - torch.tensor([True]))
    x = torch.tensor([1.0], requires_grad=True)
    y = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    (x * y).sum().backward()
    see(x.grad)
    see(y.grad)
    see(torch.tensor([1, 2]) // 2)
    see(torch.tensor([-3.0, 3.0]) // 2)
    see(torch.tensor([-3, 3]) % 2)


# ---- backward -------------------------------------------------------------------------------------------------------


@script
def accumulation(torch: Any, see: See) -> None:
    x = torch.tensor(5.0, requires_grad=True)
    y = x**3
    z = torch.log(y)
    z.backward(retain_graph=True)
    see(x.grad)
    g = x.grad
    z.backward()
    see(x.grad)
    see(g is x.grad)
    see(g)
    raises(see, lambda: z.backward())
    x.grad.zero_()
    see(x.grad)
    see(x.grad._version)
    x.grad = None
    (x * x + x).backward()
    see(x.grad)


@script
def errors_of_backward(torch: Any, see: See) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    raises(see, lambda: (x * 2).backward())
    raises(see, lambda: torch.ones(2).sum().backward())
    raises(see, lambda: (x * 2).backward(torch.ones(3)))
    raises(see, lambda: torch.autograd.grad((x * 2).sum(), torch.ones(2)))
    y = torch.ones(2, requires_grad=True)
    raises(see, lambda: torch.autograd.grad((x * 2).sum(), y))
    see(torch.autograd.grad((x * 2).sum(), y, allow_unused=True))
    see(torch.autograd.grad((x * 2).sum(), y, materialize_grads=True))
    raises(see, lambda: torch.autograd.grad((x * 2).sum(), y, allow_unused=False, materialize_grads=True))
    raises(see, lambda: (x * 2).sum().backward(inputs=[]))
    raises(see, lambda: torch.autograd.grad(x * 2, x))
    raises(see, lambda: x @ torch.ones(3), text=False)
    raises(see, lambda: x + torch.ones(3))
    raises(see, lambda: (x * 2).backward("no"), text=False)
    raises(see, lambda: x.item())
    raises(see, lambda: bool(x))
    raises(see, lambda: x.numpy())
    raises(see, lambda: torch.tensor(1.0)[0])
    raises(see, lambda: x[5])
    raises(see, lambda: x[0, 0])
    raises(see, lambda: len(torch.tensor(1.0)))
    raises(see, lambda: torch.ones(2, 3) @ torch.ones(2, 3))
    raises(see, lambda: torch.ones(2, 3).reshape(5))
    raises(see, lambda: torch.ones(2, 3).sum(2))
    raises(see, lambda: torch.ones(2, 3).expand(4, 3))
    raises(see, lambda: torch.ones(2, 3).T.view(6))
    raises(see, lambda: torch.ones(1).register_hook(print))
    raises(see, lambda: torch.ones(1).retain_grad())


FREEING: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda t, x: x + 3, "mul": lambda t, x: x * 3, "pow": lambda t, x: x**2, "sum": lambda t, x: x.sum(),
    "div": lambda t, x: x / 3, "rsub": lambda t, x: 3 - x, "neg": lambda t, x: -x, "exp": lambda t, x: t.exp(x),
    "clone": lambda t, x: x.clone(), "select": lambda t, x: x[0], "mean": lambda t, x: x.mean(), "dot": lambda t, x: x @ t.ones(2),
    "reshape": lambda t, x: x.reshape(2, 1), "cat": lambda t, x: t.cat([x, x]), "maximum": lambda t, x: t.maximum(x, t.ones(2)),
    "cumsum": lambda t, x: x.cumsum(0), "index": lambda t, x: x[[0, 1]], "max": lambda t, x: x.max(), "abs": lambda t, x: abs(x),
    "square": lambda t, x: t.square(x), "roll": lambda t, x: x.roll(1), "stack": lambda t, x: t.stack([x, x]),
    "unsqueeze": lambda t, x: x.unsqueeze(0), "expand": lambda t, x: x.expand(3, 2), "flip": lambda t, x: x.flip(0),
    "sqrt": lambda t, x: x.sqrt(), "sigmoid": lambda t, x: x.sigmoid(), "tanh": lambda t, x: x.tanh(),
    "relu": lambda t, x: t.relu(x), "softmax": lambda t, x: t.softmax(x, 0), "where": lambda t, x: t.where(x > 1, x, t.zeros(2)),
    "log": lambda t, x: x.log(), "std": lambda t, x: x.std(), "prod": lambda t, x: x.prod(), "tril": lambda t, x: x.reshape(1, 2).tril(),
    "sin": lambda t, x: x.sin(), "logsumexp": lambda t, x: x.logsumexp(0), "norm": lambda t, x: x.norm(),
    "gather": lambda t, x: x.gather(0, t.tensor([0])), "repeat": lambda t, x: x.repeat(2), "double": lambda t, x: x.double(),
}  # fmt: skip


@script
def which_ops_keep_buffers(torch: Any, see: See) -> None:
    """A second backward fails exactly where PyTorch's does: where something was saved."""
    for name, f in FREEING.items():
        x = torch.tensor([1.5, 2.0], requires_grad=True)
        y = f(torch, x)
        see((name, type(y.grad_fn).__name__))
        seed = torch.ones_like(y)
        y.backward(seed)
        see(x.grad)
        try:
            y.backward(seed)
        except RuntimeError as e:
            see(str(e)[:60])
        else:
            see("ran twice")


@script
def saved_arrays_are_freed(torch: Any, see: See) -> None:
    x = torch.ones(3, requires_grad=True)
    h = x * 2
    y = (h * h).sum()
    ref = weakref.ref(h)
    del h
    y.backward()
    gc.collect()
    see(ref() is None)
    raises(see, lambda: y.backward())


@script
def create_graph(torch: Any, see: See) -> None:
    x = torch.tensor(5.0, requires_grad=True)
    y = x**3
    z = torch.log(y)
    raises(see, lambda: torch.autograd.grad(torch.tensor(1.0), x))
    z.backward(create_graph=True)
    see(x.grad)
    see(torch.autograd.grad(x.grad, x))
    x.grad = None
    w = torch.tensor([0.3, 0.7, 1.1], dtype=torch.float64, requires_grad=True)
    f = (torch.sin(w) * torch.exp(w)).sum() / (1 + (w * w).sum())
    g = f
    for _ in range(4):
        (g,) = torch.autograd.grad(g.sum(), w, create_graph=True)
        see(g.detach().float())  # in double, seen in single: rounding grows with the order


@script
def partial_graphs(torch: Any, see: See) -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = torch.tensor([3.0, 4.0], requires_grad=True)
    c = a * b
    d = (c * a).sum()
    see(torch.autograd.grad(d, c, retain_graph=True))
    see(torch.autograd.grad(d, [a, c], retain_graph=True))
    see(torch.autograd.grad(d, d, retain_graph=True))
    d.backward(inputs=[a], retain_graph=True)
    see(a.grad)
    see(b.grad)
    d.backward(inputs=[b, c])
    see(b.grad)
    see(c.grad)
    e, f = (a * 2).sum(), (a * 3).sum()
    torch.autograd.backward([e, f])
    see(a.grad)
    torch.autograd.backward([a * 2, b * 3], [torch.ones(2), torch.tensor([1.0, -1.0])])
    see((a.grad, b.grad))
    see(torch.autograd.grad([(a * a).sum(), (a * b).sum()], [a, b]))
    see(torch.autograd.grad((a * a).sum(), [a, a]))


@script
def reuse_and_diamonds(torch: Any, see: See) -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = x * x
    z = y + y * x
    (z + y).sum().backward()
    see(x.grad)
    x.grad = None
    torch.cat([x, x, x * 2]).sum().backward()
    see(x.grad)
    x.grad = None
    (x + x).backward(torch.tensor([1.0, -1.0]))
    see(x.grad)
    a = torch.tensor(2.0, requires_grad=True)
    b = torch.ones(3, 2)
    (a * b).sum().backward()
    see(a.grad)


@script
def gradients_do_not_alias(torch: Any, see: See) -> None:
    x = torch.ones(3, requires_grad=True)
    y = torch.ones(3, requires_grad=True)
    g = torch.ones(3)
    (x + y).backward(g)
    x.grad.mul_(5)
    see((x.grad, y.grad, g))
    x.grad = y.grad = None
    x.sum().backward()
    x.grad.add_(1)
    see(x.grad)
    x.grad = None
    x.backward(g)
    g.zero_()
    see(x.grad)


@script
def long_chains(torch: Any, see: See) -> None:
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(100_000 if torch is not torch_real else 5_000):
        y = y * 1.0
    y.backward()
    see(x.grad)
    del y


# ---- hooks ----------------------------------------------------------------------------------------------------------


@script
def hooks(torch: Any, see: See) -> None:
    order: list[Any] = []
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    z = (y * y).sum()
    x.register_hook(lambda g: order.append(("x1", g.tolist())))
    x.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: order.append(("x3", g.tolist())))
    y.register_hook(lambda g: order.append(("y1", g.tolist())))
    handle = y.register_hook(lambda g: g * 2)
    y.retain_grad()
    y.register_hook(lambda g: order.append(("y3", g.tolist())))
    y.grad_fn.register_prehook(lambda gs: order.append(("pre", gs[0].tolist())))
    y.grad_fn.register_hook(
        lambda gi, go: order.append(("post", [None if g is None else g.tolist() for g in gi], go[0].tolist()))
    )
    z.backward(retain_graph=True)
    see(order)
    see(x.grad)
    see(y.grad)
    handle.remove()
    x.grad = None
    z.backward()
    see(x.grad)
    see(y.grad)
    # one hook sees the sum over all uses
    w = torch.tensor(2.0, requires_grad=True)
    seen: list[float] = []
    w.register_hook(lambda g: seen.append(g.item()))
    (w * 3 + w * w).backward()
    see(seen)
    v = torch.ones(2, requires_grad=True)
    v.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.sum().item()))
    (v * 2).sum().backward()
    see(seen)
    u = torch.ones(2, requires_grad=True)
    u.register_hook(lambda g: g * 2)
    see(torch.autograd.grad((u * 3).sum(), u))


@script
def retain_grad(torch: Any, see: See) -> None:
    x = torch.tensor(5.0, requires_grad=True)
    y = x**3
    z = torch.log(y)
    y.retain_grad()
    z.retain_grad()
    y.retain_grad()
    see((y.retains_grad, x.retains_grad))
    z.backward()
    see((x.grad, y.grad, z.grad))
    x = torch.ones(2, requires_grad=True)
    x.retain_grad()
    see(x.retains_grad)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    see(y.grad)
    see(x.grad)


@script
def nodes(torch: Any, see: See) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x * 2 + 1).exp()
    see(y.grad_fn.name())
    see([type(n).__name__ for n, _ in y.grad_fn.next_functions])
    node = y.grad_fn.next_functions[0][0].next_functions[0][0]
    see([(None if n is None else type(n).__name__, k) for n, k in node.next_functions])
    see(node.next_functions[0][0].variable is x)
    see(y.grad_fn.metadata)
    see(y.grad_fn._saved_result.detach())
    see((x**2).grad_fn._saved_self.detach())
    y.sum().backward()
    raises(see, lambda: y.grad_fn._saved_result)


@script
def anomalies(torch: Any, see: See) -> None:
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        see(torch.is_anomaly_enabled() if hasattr(torch, "is_anomaly_enabled") else True)
        y = (torch.sqrt(x) * 0.0).sum()
        raises(see, lambda: y.backward())
    y = (torch.sqrt(x) * 0.0).sum()
    y.backward()
    see(x.grad)
    with torch.autograd.detect_anomaly(check_nan=False):
        (torch.sqrt(x) * 0.0).sum().backward()


# ---- modes ----------------------------------------------------------------------------------------------------------


@script
def modes(torch: Any, see: See) -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        see(x * 2)
        see(torch.is_grad_enabled())
        with torch.enable_grad():
            see(x * 2)
        see(torch.is_grad_enabled())

    @torch.no_grad()
    def f(v: Any) -> Any:
        return v * 2

    @torch.no_grad
    def g(v: Any) -> Any:
        return v * 2

    @torch.enable_grad()
    def h(v: Any) -> Any:
        return v * 2

    see(f(x))
    see(g(x))
    see(f.__name__)
    with torch.no_grad():
        see(h(x))
    with torch.set_grad_enabled(False):
        see(x * 2)
    torch.set_grad_enabled(False)
    see(x * 2)
    torch.set_grad_enabled(True)
    see(x * 2)
    try:
        with torch.no_grad():
            raise KeyError
    except KeyError:
        see(torch.is_grad_enabled())

    @torch.no_grad()
    def generate() -> Any:
        yield torch.is_grad_enabled()
        yield torch.is_grad_enabled()

    it = generate()
    see(next(it))
    see(torch.is_grad_enabled())
    see(next(it))
    with torch.no_grad():
        leaf = torch.ones(2, requires_grad=True)
    see(leaf)


@script
def inference(torch: Any, see: See) -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        y = x * 2
        see(y)
        see(torch.is_inference_mode_enabled())
    see(y.is_inference())
    raises(see, lambda: y._version)
    raises(see, lambda: y * x)
    raises(see, lambda: (y + 0).requires_grad_())
    raises(see, lambda: y.requires_grad_())
    see(y * 2)
    see(y.clone() * x)
    raises(see, lambda: y.add_(1))  # the last, since PyTorch writes before it complains


# ---- in place, views, versions --------------------------------------------------------------------------------------


@script
def in_place(torch: Any, see: See) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    raises(see, lambda: x.mul_(2))
    raises(see, lambda: x[0].mul_(2))
    raises(see, lambda: x.view(2).zero_())
    y = x * 2
    see(y._version)
    y.add_(1)
    see(y)
    see(y._version)
    y *= 3
    see(y)
    y.sum().backward()
    see(x.grad)
    x.grad = None
    y = x.exp()
    y.mul_(2)
    raises(see, lambda: y.sum().backward())
    y = x * 2
    z = y * y
    y += 1
    raises(see, lambda: z.sum().backward())
    a = torch.ones(2)
    b = a * x
    a.add_(1)
    raises(see, lambda: b.sum().backward())
    y = x * 2
    y.mul_(y)
    see(y)
    raises(see, lambda: y.sum().backward())
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    y = x * 2
    y.mul_(w)
    y.sum().backward()
    see((x.grad, w.grad))
    x.grad = None
    y = torch.zeros(2)
    y.add_(x)
    see(y)
    y.sum().backward()
    see(x.grad)
    y = x * 1
    y.exp_()
    y.sin_()
    raises(see, lambda: y.backward(torch.ones(2)))
    y = x * 1
    y.sin_()
    y.sqrt_()
    y.backward(torch.ones(2))
    see(x.grad)
    raises(see, lambda: torch.ones(2).add_(torch.ones(3, 2)))
    raises(see, lambda: torch.tensor([1, 2]).add_(1.5))
    see(torch.tensor([1.0]).add_(torch.tensor([1.0], dtype=torch.float64)))
    with torch.no_grad():
        x -= 0.1 * x
    see(x)
    x.data.mul_(2)
    see(x)
    see(x._version)
    y = x * 2
    y.zero_()
    see(y)
    x.grad = None
    (y + x).sum().backward()
    see(x.grad)
    y = x * 2
    y.fill_(3.0)
    see(y)


@script
def views(torch: Any, see: See) -> None:
    base = torch.arange(6.0)
    v = base.view(2, 3)
    v[0, 1] = 10
    see(base)
    see(base._version)
    see(v._version)
    see(v._base is base)
    see(v[1]._base is base)
    see(v._is_view())
    x = torch.ones(3, requires_grad=True)
    b = x * 1
    w = b[:2]
    see(w)
    w.mul_(2)
    see(w)
    see(b)
    see([type(n).__name__ for n, _ in b.grad_fn.next_functions[:1]])
    (b * b).sum().backward()
    see(x.grad)
    x.grad = None
    b = torch.zeros(3)
    b[1] = x.sum()
    see(b)
    b.sum().backward()
    see(x.grad)
    x.grad = None
    b = x * 2
    v = b.view(3)
    b.add_(1)
    see(v)
    v.sum().backward()
    see(x.grad)
    x.grad = None
    b = x.clone()
    b[0] = b[1] * 3
    b[1:] *= 2
    b.sum().backward()
    see(x.grad)
    d = b.detach()
    d.add_(1)
    see(b.detach())
    see(b._version == d._version)
    with torch.no_grad():
        n = x.view(3)
        n2 = x * 1
    see(n)
    n2.requires_grad_()
    t = torch.ones(2, 3, requires_grad=True)
    m = t.clone()
    m.t()[0].mul_(4)
    m.transpose(0, 1)[1, 0] = 7.0
    m.sum().backward()
    see(m)
    see(t.grad)
    y = torch.zeros(4)
    y[torch.tensor([0, 2])] = torch.tensor([1.0, 2.0], requires_grad=True)
    see(y)
    y = torch.arange(4.0)
    y[y > 1] = -1.0
    see(y)
    e = torch.ones(1).expand(3)
    raises(see, lambda: e.add_(1))
    s = torch.ones(4, requires_grad=True)
    p = s * 2
    q1, q2 = p.chunk(2)
    see((q1, q2))
    (q1 * q2).sum().backward()
    see(s.grad)


@script
def detaching(torch: Any, see: See) -> None:
    x = torch.tensor(5.0, requires_grad=True)
    y = x * torch.tensor([2.0, 3.0, 5.0])
    w = y.detach()
    z = w @ torch.tensor([4.0, 7.0, 9.0])
    see((y, w, z))
    raises(see, lambda: z.backward())
    w.requires_grad_()
    z = w @ torch.tensor([4.0, 7.0, 9.0])
    see(z)
    z.backward()
    see((x.grad, w.grad))
    y.detach_()
    see(y)
    v = torch.ones(2, requires_grad=True)
    h = v * 2
    k = (h * h).sum()
    h.detach().add_(1)
    raises(see, lambda: k.backward())


@script
def assigning_grad(torch: Any, see: See) -> None:
    x = torch.ones(2, requires_grad=True)
    x.grad = torch.tensor([1.0, 2.0])
    (x * 2).sum().backward()
    see(x.grad)
    raises(see, lambda: setattr(x, "grad", torch.ones(3)))
    raises(see, lambda: setattr(x, "grad", 1.0), text=False)
    raises(see, lambda: setattr(x, "grad", torch.ones(2, dtype=torch.float64)), text=False)
    x.grad = None
    see(x.grad)


# ---- Function, functional, func -------------------------------------------------------------------------------------


@script
def custom_function(torch: Any, see: See) -> None:
    class MyPow(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save_for_backward(a, b)
            see(ctx.needs_input_grad)
            see(torch.is_grad_enabled())
            return a**b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            a, b = ctx.saved_tensors
            see(torch.is_grad_enabled())
            return g * b * a ** (b - 1), g * a**b * torch.log(a)

    q = torch.tensor(3.0, requires_grad=True)
    x = torch.tensor(5.0, requires_grad=True)
    y = MyPow.apply(x, q)
    see(y)
    see(type(y.grad_fn).__name__)
    see(repr(y.grad_fn).split(" at ")[0])
    see(str(y))
    torch.log(y).backward()
    see((x.grad, q.grad))
    raises(see, lambda: y.backward())
    (g,) = torch.autograd.grad(MyPow.apply(x, q), x, create_graph=True)
    see(torch.autograd.grad(g, x))
    see(MyPow.apply(x.detach(), q.detach()))
    with torch.no_grad():
        see(MyPow.apply(x, q))


@script
def function_features(torch: Any, see: See) -> None:
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x.exp(), x > 1, x * 2

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(output[0])
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx: Any, g: Any, _: Any, h: Any) -> Any:
            see((g is None, h is None))
            (out,) = ctx.saved_tensors
            see(out)
            return g * out if g is not None else h * 2

    x = torch.tensor([0.5, 2.0], requires_grad=True)
    a, b, c = Two.apply(x)
    see((a, b, c, b.requires_grad))
    see((a.output_nr, c.output_nr))
    a.sum().backward(retain_graph=True)
    c.sum().backward()
    see(x.grad)

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, k: Any) -> Any:
            ctx.k = k
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return {"few": (), "many": (g, None, g), "number": (g, g), "shape": (torch.ones(7), None), "fine": (g, None, None),
                    "broadcast": (torch.ones(3, 2), None), "none": (None, None), "dtype": (g.double(), None)}[ctx.k]  # fmt: skip

    for k in ("few", "many", "number", "shape", "fine", "broadcast", "none", "dtype"):
        x = torch.tensor([0.5, 2.0], requires_grad=True)
        raises(see, lambda x=x, k=k: Wrong.apply(x, k).sum().backward())
        see(x.grad)

    class InPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            x.mul_(3)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    x = torch.tensor([0.5, 2.0], requires_grad=True)
    y = x * 2
    z = InPlace.apply(y)
    see(z is y)
    see(y)
    z.sum().backward()
    see(x.grad)
    raises(see, lambda: InPlace.apply(torch.ones(2, requires_grad=True)))

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 5

    x = torch.tensor([0.5, 2.0], requires_grad=True)
    y = Same.apply(x)
    see(y is x)
    y.sum().backward()
    see(x.grad)

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * g * ctx.saved_tensors[0]

    x = torch.tensor([0.5, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    see(g.requires_grad)
    raises(see, lambda: g.sum().backward())

    class Stale(Once):
        pass

    x = torch.tensor([0.5, 2.0], requires_grad=True)
    y = x * 1
    z = Stale.apply(y)
    y.add_(1)
    raises(see, lambda: z.sum().backward())
    raises(see, lambda: torch.autograd.Function.apply(x), text=False)


@script
def functional(torch: Any, see: See) -> None:
    F = torch.autograd.functional
    x, y, v = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([1.0, -1.0])
    cube = lambda t: (t**3).sum()
    see(F.jacobian(lambda t: t.exp(), x))
    see(F.jacobian(lambda a, b: (a * b, a + b), (x, y)))
    see(F.hessian(cube, x))
    see(F.hessian(lambda a, b: (a * b * b).sum(), (x, y)))
    see(F.vjp(lambda t: t.exp(), x, v))
    see(F.jvp(lambda t: t.exp(), x, v))
    see(F.hvp(cube, x, v))
    see(F.vhp(cube, x, v))
    z = x.clone().requires_grad_()
    F.jacobian(lambda t: t**2, z, create_graph=True).sum().backward()
    see(z.grad)
    raises(see, lambda: F.jacobian(lambda t: 1.0, x), text=False)
    raises(see, lambda: F.hessian(lambda t: t, x))
    f = torch.func
    see(f.grad(f.grad(lambda t: t**3))(torch.tensor(2.0)))
    see(f.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(x, y))
    see(f.grad_and_value(cube)(x))
    see(f.hessian(cube)(x))
    see(f.jacrev(lambda t: t**2)(x))
    see(f.vmap(f.grad(cube))(torch.ones(3, 2)))
    see(f.vmap(lambda a, b: a @ b, in_dims=(0, None))(torch.ones(3, 2), y))
    out, pull = f.vjp(lambda t: t.sin(), x)
    see(out)
    see(pull(v))
    raises(see, lambda: f.grad(lambda t: t)(x), text=False)


@script
def variable(torch: Any, see: See) -> None:
    Variable = torch.autograd.Variable
    x = Variable(torch.ones(2, 2), requires_grad=True)
    see(x)
    see(isinstance(x, Variable))
    see(str(x))
    y = x + 2
    see(str(y))
    z = y * y * 3
    out = z.mean()
    see(str(z))
    see(str(out))
    out.backward()
    see(x.grad)
    see(Variable(torch.ones(2)).requires_grad)


# ---- halves and complex numbers -------------------------------------------------------------------------------------


@script
def halves(torch: Any, see: See) -> None:
    """Halves are computed in single precision and rounded once, so they agree to the last bit. (Not here: tanh and sigmoid,
    whose gradient PyTorch makes from the rounded result, and the op table from the argument, which keeps more digits.)"""
    for name in ("float16", "bfloat16"):
        kind = getattr(torch, name, None)
        if kind is None or not hasattr(gradverify.engine, name):
            continue
        x = torch.tensor([1.0, 2.0, 0.5], dtype=kind, requires_grad=True)
        see(str(x))
        for f in (
            lambda t: t * 2 + 1, lambda t: t @ t, lambda t: t.exp(), lambda t: (t * t * t).sum(), torch.sin, torch.rsqrt,
            lambda t: torch.stack([t, t]) @ torch.stack([t, t]).T, lambda t: t.mean(), lambda t: torch.softmax(t, 0), torch.sqrt,
            lambda t: t + torch.ones(3), lambda t: t * torch.tensor(2.0), lambda t: t * torch.tensor([1, 2, 3]), torch.log1p,
        ):  # fmt: skip
            y = f(x)
            y.backward(torch.ones_like(y))
            see((str(y.dtype), type(y.grad_fn).__name__, y.detach().float(), x.grad.float()))
            x.grad = None


@script
def complex_numbers(torch: Any, see: See) -> None:
    """PyTorch's convention: the gradient of z is the conjugate of the derivative."""
    x = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    r = torch.tensor([0.5, -2.0], requires_grad=True)
    for f in (
        lambda: (x * x.conj()).real.sum(), lambda: x.abs().sum(), lambda: (x**2).real.sum(), lambda: torch.exp(x).imag.sum(),
        lambda: (1 / x).real.sum(), lambda: (x @ x).real, lambda: (x * r).real.sum(), lambda: (x * (2 - 1j)).imag.sum(),
        lambda: torch.sin(x).real.sum(), lambda: (x / r).imag.sum(), lambda: x.sum().real, lambda: (x.reshape(2, 1) @ x.reshape(1, 2)).imag.sum(),
    ):  # fmt: skip
        y = f()
        see(y)
        see(torch.autograd.grad(y, [x, r], allow_unused=True))
    (g,) = torch.autograd.grad((x**3).real.sum(), x, create_graph=True)
    see(torch.autograd.grad(g.real.sum(), x))
    raises(see, lambda: (x * 2).sum().backward())


# ---- ops under PyTorch's names --------------------------------------------------------------------------------------

OPS: list[Callable[[Any, Any, Any], Any]] = [
    lambda t, x, y: x + y, lambda t, x, y: x - y, lambda t, x, y: x * y, lambda t, x, y: x / y, lambda t, x, y: 2 / x,
    lambda t, x, y: x**2, lambda t, x, y: x**y, lambda t, x, y: 2**x, lambda t, x, y: 1 - x, lambda t, x, y: -x,
    lambda t, x, y: x @ y.T, lambda t, x, y: x[0] @ y[0], lambda t, x, y: x @ y[0], lambda t, x, y: t.mm(x, y.t()),
    lambda t, x, y: x.sum(), lambda t, x, y: x.sum(0), lambda t, x, y: x.sum((0, 1), keepdim=True), lambda t, x, y: x.mean(1),
    lambda t, x, y: x.mean(-1, keepdim=True), lambda t, x, y: x.prod(), lambda t, x, y: x.prod(1), lambda t, x, y: x.max(),
    lambda t, x, y: x.max(1)[0], lambda t, x, y: x.max(dim=0, keepdim=True).values, lambda t, x, y: x.max(1).indices,
    lambda t, x, y: x.min(), lambda t, x, y: t.min(x, 0)[0], lambda t, x, y: t.max(x, y), lambda t, x, y: x.amax(1),
    lambda t, x, y: x.argmax(), lambda t, x, y: x.argmin(1), lambda t, x, y: x.std(), lambda t, x, y: x.var(0),
    lambda t, x, y: x.var(1, unbiased=False), lambda t, x, y: x.logsumexp(1), lambda t, x, y: x.norm(), lambda t, x, y: x.norm(dim=1),
    lambda t, x, y: x.cumsum(1), lambda t, x, y: x.cumprod(0), lambda t, x, y: x.sort(1)[0], lambda t, x, y: x.sort(1, descending=True)[1],
    lambda t, x, y: t.topk(x, 2)[0], lambda t, x, y: x.median(), lambda t, x, y: x.reshape(-1), lambda t, x, y: x.view(4, 3),
    lambda t, x, y: x.T.reshape(12), lambda t, x, y: x.flatten(), lambda t, x, y: x.permute(1, 0), lambda t, x, y: x.transpose(0, 1),
    lambda t, x, y: x.t(), lambda t, x, y: x.T, lambda t, x, y: x.mT, lambda t, x, y: x.unsqueeze(1), lambda t, x, y: x.unsqueeze(-1),
    lambda t, x, y: x.unsqueeze(0).squeeze(), lambda t, x, y: x.unsqueeze(0).squeeze(0), lambda t, x, y: x.squeeze(0),
    lambda t, x, y: x.expand(2, 3, 4), lambda t, x, y: x.unsqueeze(0).expand(2, -1, -1), lambda t, x, y: t.cat([x, y]),
    lambda t, x, y: t.cat((x, y), dim=1), lambda t, x, y: t.stack([x, y], 1), lambda t, x, y: x.flip(0), lambda t, x, y: x.roll(1, 0),
    lambda t, x, y: x.tril(), lambda t, x, y: x.triu(1), lambda t, x, y: x.diagonal(), lambda t, x, y: x.diag(), lambda t, x, y: x[0],
    lambda t, x, y: x[1:], lambda t, x, y: x[:, 0], lambda t, x, y: x[None], lambda t, x, y: x[..., ::2], lambda t, x, y: x[-1, -1],
    lambda t, x, y: x[t.tensor([0, 2])], lambda t, x, y: x[x > 0.6], lambda t, x, y: x[[0, 0, 1]], lambda t, x, y: x[:, t.tensor([1, 1])],
    lambda t, x, y: x.index_select(1, t.tensor([0, 0])), lambda t, x, y: x.gather(1, t.tensor([[0], [1], [1]])),
    lambda t, x, y: x.scatter_add(1, t.tensor([[0, 0], [1, 2], [3, 3]]), y[:, :2]), lambda t, x, y: t.einsum("ij,kj->ik", x, y),
    lambda t, x, y: t.outer(x[0], y[0]), lambda t, x, y: t.trace(x), lambda t, x, y: t.softmax(x, 1), lambda t, x, y: t.log_softmax(x, 0),
    lambda t, x, y: x.clamp(0.3, 0.9), lambda t, x, y: x.clamp(min=0.5), lambda t, x, y: t.where(x > y, x, y),
    lambda t, x, y: x.masked_fill(x > 0.7, 0.0), lambda t, x, y: t.maximum(x, y), lambda t, x, y: x.clone(), lambda t, x, y: x.double(),
    lambda t, x, y: x.to(t.float64), lambda t, x, y: x.to("cpu"), lambda t, x, y: x.abs(), lambda t, x, y: x.sqrt(), lambda t, x, y: x.rsqrt(),
    lambda t, x, y: x.exp(), lambda t, x, y: x.log(), lambda t, x, y: x.log1p(), lambda t, x, y: x.sin(), lambda t, x, y: x.tanh(),
    lambda t, x, y: x.sigmoid(), lambda t, x, y: x.relu(), lambda t, x, y: x.square(), lambda t, x, y: x.reciprocal(), lambda t, x, y: x.erf(),
    lambda t, x, y: t.atan2(x, y), lambda t, x, y: t.hypot(x, y), lambda t, x, y: t.logaddexp(x, y), lambda t, x, y: x.floor(),
    lambda t, x, y: x.repeat(2, 1), lambda t, x, y: x.split(2)[0], lambda t, x, y: x.chunk(2, 1)[1], lambda t, x, y: x.unbind(0)[1],
    lambda t, x, y: t.addmm(y[:, :3], x, y.T), lambda t, x, y: t.addcmul(x, x, y, value=0.5), lambda t, x, y: x.add(y, alpha=2),
    lambda t, x, y: x.narrow(1, 1, 2), lambda t, x, y: x.select(1, 2), lambda t, x, y: x.movedim(0, 1), lambda t, x, y: x.lerp(y, 0.3),
    lambda t, x, y: t.nn.functional.gelu(x), lambda t, x, y: t.nn.functional.silu(x), lambda t, x, y: t.nn.functional.softplus(x),
    lambda t, x, y: t.nn.functional.leaky_relu(x - 0.5), lambda t, x, y: t.nn.functional.elu(x - 0.5, 0.5),
    lambda t, x, y: t.nn.functional.mse_loss(x, y), lambda t, x, y: t.nn.functional.l1_loss(x, y), lambda t, x, y: x == y,
    lambda t, x, y: t.nn.functional.huber_loss(x, y, delta=0.2), lambda t, x, y: t.nn.functional.cross_entropy(x, t.tensor([0, 3, 1])),
    lambda t, x, y: t.nn.functional.nll_loss(x, t.tensor([0, 3, 1])), lambda t, x, y: t.nn.functional.smooth_l1_loss(x, y, beta=0.3),
    lambda t, x, y: t.nn.functional.binary_cross_entropy_with_logits(x, y), lambda t, x, y: t.nn.functional.layer_norm(x, (4,)),
    lambda t, x, y: t.nn.functional.linear(x, y, x[:, 0]), lambda t, x, y: t.nn.functional.normalize(x), lambda t, x, y: ~(x > y),
    lambda t, x, y: (x > 0.5) & (y > 0.5), lambda t, x, y: t.allclose(x, x), lambda t, x, y: t.isnan(x), lambda t, x, y: x.numel(),
    lambda t, x, y: x.size(), lambda t, x, y: x.size(1), lambda t, x, y: x.stride(), lambda t, x, y: x.T.is_contiguous(),
    lambda t, x, y: x.dim(), lambda t, x, y: x.tolist(), lambda t, x, y: x.type(), lambda t, x, y: x.element_size(),
    lambda t, x, y: t.nn.functional.embedding(t.tensor([0, 2, 2]), x), lambda t, x, y: t.nn.functional.pad(x, (1, 2)),
    lambda t, x, y: t.linalg.inv(x[:, :3] + t.eye(3)), lambda t, x, y: t.linalg.det(x[:, :3]), lambda t, x, y: x.all(), lambda t, x, y: (x > 0.5).any(1),
    lambda t, x, y: t.linalg.solve(x[:, :3] + t.eye(3), y), lambda t, x, y: t.tril(x) @ t.triu(y).T, lambda t, x, y: t.nonzero(x > 0.5),
    lambda t, x, y: x.mul(2).div(3).sub(1), lambda t, x, y: x.pow(3), lambda t, x, y: x.neg(), lambda t, x, y: x.dot(y) if x.dim() == 1 else x.mv(y[0]),
    lambda t, x, y: t.stack([x, y]) @ t.stack([y.T, x.T]), lambda t, x, y: t.bmm(t.stack([x, y]), t.stack([y.T, x.T])), lambda t, x, y: x.log2(),
]  # fmt: skip


@script
def every_op(torch: Any, see: See) -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.uniform(0.2, 1.2, (3, 4)) for _ in range(2))
    for k, f in enumerate(OPS):
        x, y = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
        try:
            out = f(torch, x, y)
        except Exception as e:
            see((k, type(e).__name__, str(e)))
            continue
        if isinstance(out, torch.Tensor) and out.requires_grad:
            seed = np.random.default_rng(k).standard_normal(tuple(out.shape))
            out.backward(torch.tensor(seed, dtype=out.dtype))
        see((k, out, x.grad, y.grad))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_engine_is_pytorch(name: str) -> None:
    mine, theirs = run(gradverify.engine, SCRIPTS[name]), run(torch_real, SCRIPTS[name])
    assert mine, "a script that sees nothing shows nothing"
    for k, (a, b) in enumerate(zip(mine, theirs)):
        agree(a, b, f"{name}, observation {k}")
    assert len(mine) == len(theirs)
