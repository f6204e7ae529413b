"""The gradient checkers, each as one function: an entry's function and arguments -> what the tool says of it.

Tools of one framework are given functions of another through a bridge: the function as NumPy values and its own VJP, both
called for real. The comparison is the tool's own, at its own points, steps, cotangents and tolerances. Nothing is lost in
translation but memory: a cotangent from another framework arrives contiguous (and the peers send no others).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch

from .catalogue import Entry

Outcome = Literal["caught", "weak", "passed", "undecided", "n/a"]
Said = tuple[Outcome, str]
SEED = 20_24


class NotApplicable(Exception):
    """The tool takes no function of this form."""


def _said(e: BaseException) -> str:
    """The type of an exception and the first line of its message."""
    lines = str(e).strip().splitlines()
    return f"{type(e).__name__}: {lines[0]}" if lines else type(e).__name__


def _x64(wanted: bool) -> Any:
    """64-bit types in JAX, as its users of float64 have them."""
    if not wanted:
        return nullcontext()
    import jax

    return jax.enable_x64(True)


# ---- gradverify


def gradverify(entry: Entry) -> Said:
    """gradverify.check with its default settings."""
    from gradverify.api import check
    from gradverify.core.errors import BadInput
    from gradverify.core.verdict import Outcome

    fn, args = entry.make()
    try:
        with _x64(entry.framework == "jax"):
            verdict = check(fn, *args)
    except BadInput as e:
        return "undecided", _said(e)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return "undecided", f"{verdict.reason.name if verdict.reason else ''}: {verdict.message}"
    if verdict.outcome is Outcome.KNOWN:  # as the plugin and assert_gradients have it
        return "passed", f"known weakness: {verdict.known}"
    if verdict.outcome is Outcome.WEAK:  # reported, and no failure by default
        return "weak", verdict.message
    return ("caught" if verdict.outcome is Outcome.FAIL else "passed"), verdict.message


# ---- an entry for other frameworks


class Bridge:
    """An entry's function and its own VJP over NumPy arrays, for tools of another framework.

    Its outputs are laid end to end. Complex arrays are two real ones, joined and split by the framework's own operations.
    """

    def __init__(self, entry: Entry) -> None:
        self.fn, self.args = entry.make()
        self.jax, self.numpy = entry.framework == "jax", entry.framework == "numpy"
        if self.numpy:
            self.at, self.values = list(range(len(self.args))), [np.array(a) for a in self.args]
            return
        self.fn, self.args = (_in_parts_jax if self.jax else _in_parts)(self.fn, self.args)
        if self.jax:
            self.at = list(range(len(self.args)))
            self.values = [np.asarray(a) for a in self.args]
        else:
            if any(not isinstance(a, torch.Tensor | int | float) for a in self.args):
                raise NotApplicable("arguments that are no arrays")
            self.at = [k for k, a in enumerate(self.args) if isinstance(a, torch.Tensor) and a.requires_grad]
            self.values = [self.args[k].detach().numpy().copy() for k in self.at]

    def call(self, *values: Any) -> np.ndarray:
        return self._run([np.array(v) for v in values], None)[0]

    def vjp(self, values: Any, g: Any) -> list[np.ndarray]:
        return self._run([np.array(v) for v in values], np.array(g))[1]

    def _run(self, values: list[np.ndarray], g: np.ndarray | None) -> tuple[np.ndarray, list[np.ndarray]]:
        if self.numpy:
            return self._run_numpy(values, g)
        return (self._run_jax if self.jax else self._run_torch)(values, g)

    def _run_numpy(self, values: list[np.ndarray], g: np.ndarray | None) -> tuple[np.ndarray, list[np.ndarray]]:
        out, residuals = self.fn.split(self.fn.forward(*values))
        flat = np.ravel(out).copy()
        if g is None:
            return flat, []
        d = self.fn.pull(residuals, g.reshape(np.shape(out)), tuple(values), {})
        return flat, [np.array(x) for x in (d if isinstance(d, tuple) else (d,))]

    def _run_torch(self, values: list[np.ndarray], g: np.ndarray | None) -> tuple[np.ndarray, list[np.ndarray]]:
        args = list(self.args)
        leaves = [torch.from_numpy(v).to(self.args[k].dtype).requires_grad_() for k, v in zip(self.at, values)]
        for k, leaf in zip(self.at, leaves):
            args[k] = leaf
        with torch.enable_grad():
            out = self.fn(*args)
        outs = [o for o in (out if isinstance(out, tuple | list) else (out,)) if o.is_floating_point()]
        flat = np.concatenate([o.detach().numpy().ravel() for o in outs])
        if g is None:
            return flat, []
        parts = np.split(g, np.cumsum([o.numel() for o in outs])[:-1])
        used = [(o, torch.from_numpy(p.reshape(o.shape)).to(o.dtype)) for o, p in zip(outs, parts) if o.requires_grad]
        d = torch.autograd.grad([o for o, _ in used], leaves, [p for _, p in used], allow_unused=True)
        return flat, [
            np.zeros(v.shape) if x is None else x.detach().resolve_neg().numpy().copy() for x, v in zip(d, leaves)
        ]

    def _run_jax(self, values: list[np.ndarray], g: np.ndarray | None) -> tuple[np.ndarray, list[np.ndarray]]:
        import jax
        import jax.numpy as jnp

        with jax.enable_x64(True):
            out, back = jax.vjp(lambda *a: jnp.ravel(self.fn(*a)), *map(jnp.asarray, values))
            return np.asarray(out), [] if g is None else [np.asarray(d) for d in back(jnp.asarray(g))]


def _in_parts(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function and its arguments over real and imaginary parts."""
    is_complex = [isinstance(a, torch.Tensor) and a.is_complex() for a in args]
    halves = [
        [p.clone().requires_grad_(a.requires_grad) for p in (a.detach().real, a.detach().imag)] if c else [a]
        for a, c in zip(args, is_complex)
    ]

    def over_parts(*parts: Any) -> Any:
        rest = iter(parts)
        out = fn(*(torch.complex(next(rest), next(rest)) if c else next(rest) for c in is_complex))
        several = isinstance(out, tuple | list)
        outs = [torch.view_as_real(o.resolve_conj()) if o.is_complex() else o for o in (out if several else (out,))]
        return tuple(outs) if several else outs[0]

    return over_parts, tuple(p for h in halves for p in h)


def _in_parts_jax(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same for a function of JAX."""
    import jax.numpy as jnp
    from jax import lax

    is_complex = [jnp.iscomplexobj(a) for a in args]
    halves = [[np.asarray(a).real, np.asarray(a).imag] if c else [a] for a, c in zip(args, is_complex)]

    def over_parts(*parts: Any) -> Any:
        rest = iter(parts)
        out = fn(*(lax.complex(next(rest), next(rest)) if c else next(rest) for c in is_complex))
        return jnp.stack([out.real, out.imag], axis=-1) if jnp.iscomplexobj(out) else out

    return over_parts, tuple(p for h in halves for p in h)


def _for_torch(entry: Entry) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The entry as a function of tensors, bridged where it is of another framework."""
    if entry.framework == "torch":
        return entry.make()
    bridge = Bridge(entry)

    class Bridged(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return torch.from_numpy(bridge.call(*(a.detach().numpy() for a in args)).copy())

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            d = bridge.vjp([a.detach().numpy() for a in ctx.saved_tensors], g.numpy())
            return tuple(torch.from_numpy(np.array(x)) for x in d)

    return Bridged.apply, tuple(torch.from_numpy(v.copy()).requires_grad_() for v in bridge.values)


# ---- the peers


def gradcheck(**how: Any) -> Callable[[Entry], Said]:
    """torch.autograd.gradcheck with the options `how`, as a tool."""

    def tool(entry: Entry) -> Said:
        fn, args = _for_torch(entry)
        if any(not isinstance(a, torch.Tensor | int | float) for a in args):
            raise NotApplicable("arguments that are no tensors")
        torch.manual_seed(SEED)
        try:
            torch.autograd.gradcheck(fn, args, **how)
        except Exception as e:
            return "caught", _said(e)
        return "passed", ""

    return tool


def gradgradcheck(entry: Entry) -> Said:
    """gradcheck slow, then gradgradcheck, as PyTorch's own tests use them."""
    first = gradcheck()(entry)
    if first[0] == "caught" or entry.framework != "torch":
        return first
    fn, args = entry.make()
    torch.manual_seed(SEED)
    try:
        torch.autograd.gradgradcheck(fn, args)
    except Exception as e:
        if "once_differentiable" in str(e):
            return first
        return "caught", _said(e)
    return "passed", ""


def jax_check_grads(entry: Entry) -> Said:
    """jax.test_util.check_grads(order=1, modes=["rev"]); of a function of PyTorch, check_vjp, which is what it calls."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads, check_vjp

    np.random.seed(SEED)
    with jax.enable_x64(True):
        try:
            if entry.framework == "jax":
                fn, args = entry.make()
                check_grads(fn, args, order=1, modes=["rev"])
            else:
                bridge = Bridge(entry)

                def pull(*values: Any) -> Any:
                    out = bridge.call(*values)
                    return jnp.asarray(out), lambda g: tuple(
                        jnp.asarray(d, dtype=v.dtype) for d, v in zip(bridge.vjp(values, g), values)
                    )

                check_vjp(lambda *v: jnp.asarray(bridge.call(*v)), pull, tuple(map(jnp.asarray, bridge.values)))
        except NotApplicable:
            raise
        except Exception as e:
            return "caught", _said(e)
    return "passed", ""


def hips_check_grads(entry: Entry) -> Said:
    """autograd.test_util.check_grads(order=1, modes=["rev"]) on a primitive whose VJP is the entry's own."""
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    bridge = Bridge(entry)
    wrapped = primitive(bridge.call)
    defvjp(wrapped, *(lambda ans, *v, k=k: lambda g: bridge.vjp(v, g)[k] for k in range(len(bridge.values))))
    np.random.seed(SEED)
    try:
        for k in range(len(bridge.values)):  # by itself it differentiates the first argument only
            check_grads(wrapped, k, modes=["rev"], order=1)(*bridge.values)
    except Exception as e:
        return "caught", _said(e)
    return "passed", ""


_numbers = itertools.count()


def opcheck(entry: Entry) -> Said:
    """torch.library.opcheck, all four of its utilities, on a custom operator made of the function and its VJP."""
    if entry.framework != "torch":
        raise NotApplicable("no function of PyTorch")
    bridge = Bridge(entry)
    shape = bridge.call(*bridge.values).shape
    n, name = len(bridge.values), f"gradverify_bench::op{next(_numbers)}"
    args = ", ".join(f"Tensor x{k}" for k in range(n))

    def forward(*x: Any) -> Any:
        return torch.from_numpy(bridge.call(*(t.detach().numpy() for t in x)).copy())

    def pull(g: Any, *x: Any) -> Any:
        found = bridge.vjp([t.detach().numpy() for t in x], g.numpy())
        return [torch.from_numpy(np.array(d)) for d in found]

    op = torch.library.custom_op(name, forward, mutates_args=(), schema=f"({args}) -> Tensor")
    op.register_fake(lambda *x: x[0].new_empty(shape))
    back = torch.library.custom_op(f"{name}_backward", pull, mutates_args=(), schema=f"(Tensor g, {args}) -> Tensor[]")
    back.register_fake(lambda g, *x: [torch.empty_like(t, memory_format=torch.contiguous_format) for t in x])
    op.register_autograd(
        lambda ctx, g: tuple(back(g, *ctx.saved_tensors)),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    try:
        torch.library.opcheck(op, tuple(torch.from_numpy(v.copy()).requires_grad_() for v in bridge.values))
    except Exception as e:
        return "caught", _said(e)
    return "passed", ""


TOOLS: Mapping[str, Callable[[Entry], Said]] = {
    "gradverify.check": gradverify,
    "gradcheck slow": gradcheck(),
    "gradcheck fast": gradcheck(fast_mode=True),
    "+ gradgradcheck": gradgradcheck,
    "jax check_grads": jax_check_grads,
    "HIPS check_grads": hips_check_grads,
    "opcheck": opcheck,
}


def run(tool: str, entry: Entry) -> Said:
    """Run one tool on a fresh copy of the entry, without showing warnings."""
    torch.manual_seed(SEED)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return TOOLS[tool](entry)
        except NotApplicable as e:
            return "n/a", str(e)
