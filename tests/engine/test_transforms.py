"""`func`, `forward_ad`, `autograd.graph` and checkpoints beside PyTorch's: the same values, whichever mode computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gradverify.engine

from .test_semantics import See, agree, raises, run

torch_real = pytest.importorskip("torch")

SCRIPTS: dict[str, Callable[[Any, See], None]] = {}


def script(f: Callable[[Any, See], None]) -> Callable[[Any, See], None]:
    SCRIPTS[f.__name__] = f
    return f


def points(torch: Any) -> tuple[Any, Any, Any]:
    x = torch.tensor([0.5, 1.5, -2.0], dtype=torch.float64)
    v = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    return x, v, torch.arange(9.0, dtype=torch.float64).view(3, 3)


def free(see: See, x: Any) -> None:
    """See values without the names of nodes: each library writes its derivatives its own way."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, list | tuple):
        for each in x:
            free(see, each)
    else:
        see(x.detach())


@script
def derivatives_of_every_composition(torch: Any, see: See) -> None:
    f, (x, v, m) = torch.func, points(torch)
    g = lambda x: (x.sin() * x.exp()).sum()
    free(see, [f.hessian(g)(x), f.jacfwd(f.jacfwd(g))(x), f.jacrev(f.jacrev(g))(x), f.jacrev(f.jacfwd(g))(x)])
    free(see, [f.jvp(f.grad(g), (x,), (v,)), f.grad(lambda x: f.jvp(g, (x,), (v,))[1])(x)])
    free(see, f.grad(lambda x: f.grad(g)(x).pow(2).sum())(x))
    free(see, f.hessian(lambda x: (m @ x).tanh().sum() * x.logsumexp(0))(x))
    free(see, f.jacfwd(lambda x: f.vjp(lambda y: (m @ y).exp().log1p(), x)[1](v)[0])(x))
    free(see, f.jvp(lambda x: f.jvp(lambda y: y**3 * x, (x,), (v,))[1], (x,), (v,)))
    free(see, f.hessian(lambda x: torch.nn.functional.softmax(x, 0).pow(2).sum())(x))
    free(see, f.jacfwd(lambda x: torch.linalg.inv(m + torch.diag(x)))(x))
    norm = torch.nn.functional.layer_norm
    free(see, [f.jacfwd(lambda x: norm(x, (3,)))(x), f.hessian(lambda x: norm(x * x, (3,))[0] * x.max())(x)])


@script
def tangents_of_ops(torch: Any, see: See) -> None:
    x, v, m = points(torch)
    for f in (
        torch.sum, torch.prod, torch.max, lambda x: x.cumsum(0), lambda x: x.cumprod(0), lambda x: x.sort()[0], torch.flip,
        lambda x: x[[0, 2]], lambda x: x[1:] * x[:-1], lambda x: torch.cat([x, x * x]), lambda x: torch.stack([x, x.exp()]),
        lambda x: x.view(3, 1) + m, lambda x: m @ x, lambda x: x.norm(), lambda x: x.var(),
        lambda x: torch.where(x > 0, x, x * x), lambda x: x.clamp(-1, 1), lambda x: x.floor() * x,
        lambda x: (m + torch.diag(x)).det(), lambda x: x / x.square().sum(), torch.relu,
        lambda x: torch.nn.functional.gelu(x), lambda x: x.abs() ** x, lambda x: x.detach() * x, lambda x: x.clone().mul_(x),
        lambda x: x.clone().zero_() + x, lambda x: x.clone().add_(1).mul_(2), lambda x: x.clone().copy_(x * x),
    ):  # fmt: skip
        f = (lambda x: torch.flip(x, (0,))) if f is torch.flip else f
        free(see, torch.func.jvp(f, (x,), (v,)))
    z = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128)
    w = torch.tensor([0.5 - 1j, 1j], dtype=torch.complex128)
    for f in (
        lambda z: z * z, lambda z: z.conj() * z, torch.abs, lambda z: z.exp() / z, lambda z: z.real * z, torch.angle,
        lambda z: z**2.5, lambda z: z.sum() * z, lambda z: z.imag,
    ):  # fmt: skip
        free(see, torch.func.jvp(f, (z,), (w,)))


@script
def functions_of_trees(torch: Any, see: See) -> None:
    f, (x, v, m) = torch.func, points(torch)
    free(see, f.grad(lambda d: (d["a"] * d["b"][0]).sum())({"a": x, "b": [v]}))
    out, pull = f.vjp(lambda x: {"o": x * 2, "p": (x.sum(),)}, x)
    free(see, [out, pull({"o": v, "p": (v[0],)})])
    both = lambda x, y: (x * y, {"s": (x + y).sum()})
    free(see, [f.jacrev(both, argnums=(0, 1))(x, v), f.jacfwd(both, argnums=(0, 1))(x, v)])
    aux = lambda x: (x.sum(), {"aux": x * 2})
    free(
        see,
        [f.grad_and_value(aux, has_aux=True)(x), f.jvp(aux, (x,), (v,), has_aux=True), f.grad(aux, has_aux=True)(x)],
    )
    free(see, [f.jacrev(aux, has_aux=True)(x), f.linearize(lambda x: x.sin(), x)[1](v)])
    free(see, f.vmap(f.grad(lambda x, y: (x * y).sum()), in_dims=(0, None))(m, v))
    free(see, f.vmap(lambda d: {"z": d["x"] * 2}, in_dims=({"x": 1},))({"x": m}))
    layer = torch.nn.Linear(3, 2).double()
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.bias.fill_(0.1)
    params = {k: p.detach() * 2 for k, p in layer.named_parameters()}
    free(see, f.functional_call(layer, params, (x,)))
    free(see, f.grad(lambda p: f.functional_call(layer, p, (x,)).sum())(params))
    see(layer.weight)
    raises(see, lambda: f.grad(lambda x: x * 2)(x), text=False)
    raises(see, lambda: f.grad(lambda x: x.sum(), argnums=1)(x), text=False)
    raises(see, lambda: pull(v), text=False)
    raises(see, lambda: f.jvp(aux, x, v), text=False)


@script
def dual_numbers(torch: Any, see: See) -> None:
    forward, (x, v, m) = torch.autograd.forward_ad, points(torch)
    with forward.dual_level():
        dual = forward.make_dual(x, v)
        free(see, forward.unpack_dual(m @ dual * dual.exp()))
        see(forward.unpack_dual(x * 2).tangent)
        raises(see, lambda: forward.make_dual(x, v[:2]), text=False)
        raises(see, lambda: forward.dual_level().__enter__(), text=False)
        y = x.clone().requires_grad_()
        out = (forward.make_dual(y, v) ** 3).sum()
        primal, tangent = forward.unpack_dual(out)
        free(see, [primal, tangent, torch.autograd.grad(tangent, y)[0]])
    see(forward.unpack_dual(dual).tangent)
    raises(see, lambda: forward.make_dual(x, v), text=False)


@script
def hooks_on_what_is_saved(torch: Any, see: See) -> None:
    graph = torch.autograd.graph
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    seen: list[Any] = []
    with graph.saved_tensors_hooks(lambda t: (seen.append(t.shape), t * 2)[1], lambda t: t / 2):
        y = (x * x).exp() * x
    see(len(seen))
    y.sum().backward()
    see(x.grad)
    with graph.save_on_cpu():
        y = (x.sin() * x).tanh().sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    see(torch.autograd.grad(g.sum(), x)[0])
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 1.0):
        y = x * x
    raises(see, lambda: y.sum().backward(), text=False)
    with graph.saved_tensors_hooks(lambda t: t.mul_(2), lambda t: t):
        raises(see, lambda: x.detach().clone().requires_grad_().clone() ** 2, text=False)
    with graph.disable_saved_tensors_hooks("not here"):
        raises(see, lambda: graph.saved_tensors_hooks(lambda t: t, lambda t: t).__enter__())


@script
def hooks_on_several_gradients(torch: Any, see: See) -> None:
    graph = torch.autograd.graph
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    c, calls = a * b, []
    note = lambda gs: calls.append([None if g is None else g.item() for g in gs])
    handle = graph.register_multi_grad_hook((a, b, c), note)
    (c * 2).backward()
    (a * 5).backward()
    handle.remove()
    (a * b).backward()
    see(calls)
    c, first = a * b, []
    graph.register_multi_grad_hook((a, b, c), lambda g: first.append(g.item()), mode="any")
    (c * 2).backward()
    see(first)
    c = a * b
    edge = graph.get_gradient_edge(c)
    see(torch.autograd.grad(c * c, edge)[0])
    raises(see, lambda: graph.get_gradient_edge(a.detach()), text=False)


@script
def checkpoints(torch: Any, see: See) -> None:
    again, w = torch.utils.checkpoint.checkpoint, torch.tensor([0.5, 1.0], requires_grad=True)
    runs = [0]

    def part(u: Any) -> Any:
        runs[0] += 1
        return (u * w).tanh() * u.exp()

    for reentrant in (False, True):
        u = torch.tensor([1.0, -1.0], requires_grad=True)
        w.grad = None
        out = again(part, u, use_reentrant=reentrant)
        again(part, out, use_reentrant=reentrant).sum().backward()
        see((u.grad, w.grad, runs[0]))
    u = torch.tensor([1.0, -1.0], requires_grad=True)
    (g,) = torch.autograd.grad(again(part, u, use_reentrant=False).sum(), u, create_graph=True)
    see(torch.autograd.grad(g.sum(), u)[0])
    drop = torch.nn.Dropout(0.5)
    x = torch.ones(100, requires_grad=True)
    y = again(lambda x: drop(x) * x, x, use_reentrant=False)
    y.sum().backward()
    see(bool(((x.grad != 0) == (y != 0)).all()))  # the mask of the second run is that of the first


@script
def what_a_transform_refuses(torch: Any, see: See) -> None:
    f, (x, v, _) = torch.func, points(torch)
    no_pair = lambda x: x.sum()
    no_aux = lambda x: (x.sum(), 1.0)
    for transform in (
        lambda g: f.vjp(g, x, has_aux=True), lambda g: f.jvp(g, (x,), (v,), has_aux=True),
        lambda g: f.grad(g, has_aux=True)(x), lambda g: f.jacrev(g, has_aux=True)(x),
        lambda g: f.jacfwd(g, has_aux=True)(x),
    ):  # fmt: skip
        raises(see, lambda: transform(no_pair))  # noqa: B023
        raises(see, lambda: transform(no_aux))  # noqa: B023
    for result in (None, (), 1.0, "abc", [1], {"a": None}):
        for transform in (lambda g: f.vjp(g, x), lambda g: f.jvp(g, (x,), (v,)), lambda g: f.jacrev(g)(x)):
            raises(see, lambda: transform(lambda x: result))  # noqa: B023
    raises(see, lambda: f.jvp(torch.sin, (1.0,), (v,)))
    raises(see, lambda: f.jvp(torch.sin, (x,), (1.0,)))

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0].cos()

    for transform in (f.grad, f.jacrev, f.grad_and_value, f.hessian):
        raises(see, lambda: transform(lambda x: Sine.apply(x).sum())(x))  # noqa: B023
    models = [torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)]
    models[0].weight.requires_grad_(False)
    raises(see, lambda: f.stack_module_state(models))
    models[1].weight.requires_grad_(False)
    see([(k, p.requires_grad, p.is_leaf) for k, p in f.stack_module_state(models)[0].items()])


@script
def randomness_of_a_batch(torch: Any, see: See) -> None:
    x = torch.ones(4, 1000)
    for f in (torch.nn.Dropout(0.5), lambda x: x + torch.randn(1000), lambda x: torch.rand_like(x)):
        same = torch.func.vmap(f, randomness="same")(x)
        different = torch.func.vmap(f, randomness="different")(x)
        see([bool((same == same[0]).all()), bool((different == different[0]).all())])
        again = torch.func.vmap(f, randomness="same")(x)
        see(bool((same == again).all()))  # each call draws anew
    raises(see, lambda: torch.func.vmap(torch.sin, randomness="some")(x))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_transforms_are_pytorchs(name: str) -> None:
    mine, theirs = run(gradverify.engine, SCRIPTS[name]), run(torch_real, SCRIPTS[name])
    assert mine, "a script that sees nothing shows nothing"
    assert len(mine) == len(theirs)
    for k, (a, b) in enumerate(zip(mine, theirs)):
        agree(a, b, f"{name}, observation {k}")
