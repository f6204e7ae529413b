"""Rules that PyTorch keeps and an engine gets wrong silently: every script runs under both modules, as in test_semantics.

Each rule comes with variants that were written after the engine was mended.
"""

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


def function(torch: Any, forward: Any, backward: Any) -> Any:
    """A Function of two lines."""
    return type("F", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


@script
def a_node_twice_among_the_roots(torch: Any, see: See) -> None:
    one = torch.tensor(1.0)
    for times in (1, 2, 3):
        a = torch.tensor(2.0, requires_grad=True)
        x = a * 3
        torch.autograd.backward([x] * times, [one] * times)
        see(a.grad)
    f = function(torch, lambda ctx, x: (x * 2, x * 3), lambda ctx, g, h: 2 * g + 3 * h)
    a = torch.tensor(2.0, requires_grad=True)
    torch.autograd.backward(f.apply(a * 1), [one, one])
    see(a.grad)
    out = f.apply(a * 1)
    see(torch.autograd.grad([out[1], out[0], out[1]], [a], [one, one, one]))
    b = a * 1
    see(torch.autograd.grad([b, b * 2, b], [a, b], [one, one, one]))


@script
def contiguous_has_the_strides_of_its_shape(torch: Any, see: See) -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    for y in (x.transpose(0, 2), x.permute(1, 2, 0), x[:, ::2], x[0].expand(2, 3, 4), x):
        see((y.contiguous().stride(), y.contiguous().is_contiguous(), y.clone().stride()))
        see(y.clone(memory_format=torch.contiguous_format).stride())
    t = torch.arange(6.0).view(2, 3).t().requires_grad_()
    see(t.contiguous())
    see(t.contiguous().view(-1))
    see(t.contiguous().pow(2).sum().backward())
    see((t.grad, t.grad.is_contiguous()))


@script
def second_derivatives_of_products_with_vectors(torch: Any, see: See) -> None:
    m, b = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([2.0, 1.0])
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    see(torch.autograd.functional.hessian(lambda x: 0.5 * x @ m @ x, x))
    batch = torch.arange(8.0).view(2, 2, 2)
    for f in (
        lambda: m.mv(x).pow(2).sum(), lambda: b.dot(x) ** 2, lambda: (x @ m).pow(2).sum(), lambda: (batch @ x).pow(3).sum(),
        lambda: (x @ batch).pow(2).sum(), lambda: x.dot(x) ** 2, lambda: torch.outer(x, b).mv(x).sum(),
    ):  # fmt: skip
        (g,) = torch.autograd.grad(f(), x, create_graph=True)
        see(g.detach())
        see(torch.autograd.grad(g.pow(2).sum(), x)[0])


@script
def transforms_under_no_grad_are_constants(torch: Any, see: See) -> None:
    grad, x = torch.func.grad, torch.tensor(1.5)

    def h(x: Any) -> Any:
        with torch.no_grad():
            inner = grad(lambda x: 0.25 * x**4)(x)
        return x**3 - inner

    see(grad(h)(x))

    def with_vjp(x: Any) -> Any:
        with torch.no_grad():
            out, pull = torch.func.vjp(torch.sin, x)
        return x * out + pull(x)[0]

    def inside(x: Any) -> Any:
        def f(y: Any) -> Any:
            with torch.no_grad():
                cut = y * 2
            return cut * y

        return grad(f)(x)

    see(grad(with_vjp)(x))
    see(inside(x))
    see(grad(inside)(x))
    with torch.no_grad():
        see(grad(lambda x: x**2)(x))
        see(grad(grad(lambda x: x**3))(x))


@script
def schedules_multiply_and_respect_the_user(torch: Any, see: See) -> None:
    schedules = torch.optim.lr_scheduler
    for by_hand in (False, True):
        p = torch.nn.Parameter(torch.ones(1))
        optimiser = torch.optim.SGD([p], lr=1.0)
        both = [schedules.ExponentialLR(optimiser, 0.9), schedules.StepLR(optimiser, 2, 0.1)]
        for k in range(6):
            optimiser.step()
            for schedule in both:
                schedule.step()
            see(optimiser.param_groups[0]["lr"])
            if by_hand and k == 2:
                optimiser.param_groups[0]["lr"] = 5.0


@script
def views_of_inference_tensors(torch: Any, see: See) -> None:
    with torch.inference_mode():
        x = torch.ones(3)
    for y in (x.view(3, 1), x * 2, x[0], x.detach(), x.clone(), x.view(3, 1)[0], x.reshape(3), x.expand(2, 3)):
        see(y.is_inference())
    z = torch.ones(3)
    with torch.inference_mode():
        for y in (z.view(3, 1), z * 2, z.detach(), z[1:], z.clone()):
            see(y.is_inference())
    see(z.is_inference())
    raises(see, lambda: x.add_(1))
    raises(see, lambda: x[0:2].add_(1))
    w = torch.ones(3, requires_grad=True)
    raises(see, lambda: w * x)
    (w + x).sum().backward()
    see(w.grad)
    with torch.inference_mode():
        see(x[0:2].add_(1).is_inference())


@script
def a_function_that_returns_a_view(torch: Any, see: See) -> None:
    for forward in (lambda ctx, x: x.view(-1), lambda ctx, x: x, lambda ctx, x: x.t(), lambda ctx, x: x.view(-1)[:1]):
        f = function(torch, forward, lambda ctx, g: g.sum() * torch.ones(1, 2))
        for make in (lambda a: a, lambda a: a * 1):
            a = torch.ones(1, 2, requires_grad=True)
            y = f.apply(make(a))
            see(y._is_view())

            def edit(y: Any = y) -> None:
                y += 1

            raises(see, edit)
            see(a)
            y.sum().backward()
            see(a.grad)
    f = function(torch, lambda ctx, x: x.clone().view(-1), lambda ctx, g: g.view(1, 2))
    a = torch.ones(1, 2, requires_grad=True)
    y = f.apply(a)
    with torch.no_grad():
        y += 1
    see(a)


@script
def hooks_keep_shape_and_dtype(torch: Any, see: See) -> None:
    def on_result(answer: Any) -> None:
        x = torch.ones(3, requires_grad=True)
        y = x * 2
        y.register_hook(answer)
        raises(see, lambda: y.sum().backward())
        see(x.grad)

    def on_leaf(answer: Any) -> None:
        x = torch.ones(3, requires_grad=True)
        x.register_hook(answer)
        raises(see, lambda: (x * 2).sum().backward())
        see(x.grad)

    def on_node(answer: Any, pre: bool = False) -> None:
        x = torch.ones(3, requires_grad=True)
        y = x * x
        (y.grad_fn.register_prehook if pre else y.grad_fn.register_hook)(answer)
        raises(see, lambda: y.sum().backward())
        see(x.grad)

    for answer in (
        lambda g: g.sum(),
        lambda g: g.double(),
        lambda g: g[:2],
        lambda g: 3.0,
        lambda g: g * 2,
        lambda g: None,
    ):
        on_result(answer)
        on_leaf(answer)
    on_node(lambda i, o: (i[0],))
    on_node(lambda i, o: (i[0][:2], None))
    on_node(lambda i, o: (i[0] * 2, i[1]))
    on_node(lambda o: (o[0].double(),), pre=True)
    on_node(lambda o: (o[0] * 3,), pre=True)
    on_node(lambda o: (o[0], o[0]), pre=True)


@script
def extremes_with_nan_and_ties(torch: Any, see: See) -> None:
    nan = float("nan")
    for rows in (
        [[1.0, nan, 3.0], [2.0, 2.0, 1.0]], [[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]], [[nan, nan, nan], [1.0, nan, nan]],
        [[float("inf"), float("-inf"), 0.0], [float("inf"), float("inf"), 1.0]],
    ):  # fmt: skip
        x = torch.tensor(rows, requires_grad=True)
        for f in (
            torch.max, torch.min, torch.amax, torch.amin, torch.median, lambda x: x.max(1)[0], lambda x: x.min(0)[0],
            lambda x: x.amax(1), lambda x: x.amin(0), lambda x: x.median(1)[0], lambda x: x.median(0)[0],
            lambda x: x.amax((0, 1), True),
        ):  # fmt: skip
            y = f(x)
            see(y)
            see(torch.autograd.grad(y.sum(), x)[0])
        for f in (lambda x: x.max(1)[1], lambda x: x.min(0)[1], lambda x: x.median(1)[1], lambda x: x.median(0)[1]):
            see(f(x))


@script
def powers_of_zero(torch: Any, see: See) -> None:
    for dtype in (torch.float32, torch.float64):
        b = torch.tensor([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0], dtype=dtype, requires_grad=True)
        a = torch.zeros(7, dtype=dtype, requires_grad=True)
        for y in (0.0**b, a**b, torch.pow(torch.tensor(0.0, dtype=dtype), b), (a + 0.0) ** 0.0):
            see(y)
            see(torch.autograd.grad(y.sum(), [a, b], allow_unused=True))


@script
def hooks_of_a_view_before_a_write(torch: Any, see: See) -> None:
    def edits(b: Any, v: Any) -> list[Callable[[], Any]]:
        from_base = lambda: v.copy_(b[1:].clone())
        return [lambda: v.mul_(3), lambda: b.mul_(3), lambda: v.add_(v.detach()), lambda: v.zero_(), from_base]

    for k in range(5):
        for retains in (False, True):
            x = torch.ones(3, requires_grad=True)
            b = x * 1
            v, seen = b[:2], []
            v.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
            if retains:
                v.retain_grad()
            edits(b, v)[k]()
            (b * b).sum().backward()
            see((seen, x.grad, v.grad if retains else None))
    x = torch.ones(2, 3, requires_grad=True)
    b = x * 1
    row = b[0]
    part, seen = row[1:], []
    row.register_hook(lambda g: seen.append("row"))
    part.register_hook(lambda g: seen.append("part"))
    part.mul_(2)
    b.sum().backward()
    see((seen, x.grad))


@script
def defaults_of_forward(torch: Any, see: See) -> None:
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(x: Any, k: Any = 3.0, shift: Any = None) -> Any:
            return x * k

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            see(len(inputs))
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            see(ctx.needs_input_grad)
            return g * ctx.k, None, None

    for args in ((), (2.0,), (2.0, None)):
        a = torch.tensor(2.0, requires_grad=True)
        Scaled.apply(a, *args).backward()
        see(a.grad)


@script
def materialized_zeros(torch: Any, see: See) -> None:
    a, b = torch.tensor(2.0, requires_grad=True), torch.ones(2, requires_grad=True)
    for create_graph in (False, True):
        see(torch.autograd.grad(a * 1, [a, b], materialize_grads=True, create_graph=create_graph))
        see(torch.autograd.grad(a * a, [b, a], materialize_grads=True, create_graph=create_graph))


@script
def generators_under_a_mode(torch: Any, see: See) -> None:
    @torch.no_grad()
    def steps() -> Any:
        try:
            got = yield torch.is_grad_enabled()
            see(got)
            yield torch.is_grad_enabled()
        except ValueError:
            yield "caught", torch.is_grad_enabled()
        finally:
            see(("closed", torch.is_grad_enabled()))
        return 7

    g = steps()
    see((next(g), g.send("sent")))
    see(g.throw(ValueError()))
    g.close()
    g = steps()
    next(g)
    raises(see, lambda: g.throw(KeyError("k")))
    g = steps()
    next(g)
    g.close()
    see(torch.is_grad_enabled())

    def outer() -> Any:
        see((yield from steps()))

    see(list(outer()))

    @torch.no_grad()
    def echo() -> Any:
        with torch.enable_grad():
            yield torch.is_grad_enabled()

    see(([torch.is_grad_enabled() for _ in echo()], list(echo())))


@script
def values_out_under_no_grad(torch: Any, see: See) -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        see(x.numpy().tolist())
        view, of_result = x[:1], (x * 1)[:1]
        see(x.__array__().tolist())
    raises(see, lambda: x.numpy())
    with torch.no_grad():
        x.add_(1)
    see(repr(view))
    b = x * 1
    with torch.no_grad():
        view = b[:1]
    b.add_(1)
    see(repr(view))
    see(str(of_result))
    raises(see, lambda: view.grad_fn)


@script
def backward_within_backward(torch: Any, see: See) -> None:
    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            if ctx.depth > 0:
                with torch.enable_grad():
                    y = torch.ones(1, requires_grad=True)
                    nested(y, ctx.depth - 1).sum().backward()
                    return g + y.grad
            return g

    def nested(y: Any, depth: int) -> Any:
        z = Again.apply(y)
        z.grad_fn.depth = depth
        return z

    for depth in (0, 1, 50, 300):
        x = torch.ones(1, requires_grad=True)
        nested(x, depth).sum().backward()
        see(x.grad)
    with torch.no_grad():
        see(torch.is_grad_enabled())


@script
def lists_as_indices(torch: Any, see: See) -> None:
    x = torch.arange(12.0).view(3, 4)
    for index in (
        [0, 2], ([0, 1], [1, 2]), [True, False, True], (slice(None), [0, 1]), [[0, 1], [1, 2]], (..., [0]), [[0, 1]],
        [slice(0, 2)], [slice(0, 2), 1], [None, [1]], [torch.tensor([0, 1]), 1], [...], ([[0, 1], [1, 2]],), [],
    ):  # fmt: skip
        see(x[index])
        y = x.clone()
        y[index] = 5.0
        see(y)


@script
def transforms_refuse_writes_to_captured_tensors(torch: Any, see: See) -> None:
    def kind(f: Callable[[], Any]) -> None:
        raises(see, f, text=False)

    y, x = torch.zeros(1), torch.tensor(2.0)
    for write in (
        lambda x: y.copy_(x), lambda x: y.add_(x), lambda x: y.add_(1), lambda x: y.zero_(), lambda x: y[0:1].mul_(2),
    ):  # fmt: skip
        kind(lambda write=write: torch.func.grad(lambda x: (write(x), x * 2)[1])(x))
        kind(lambda write=write: torch.func.vjp(lambda x: (write(x), x * 2)[1], x)[0])
    see(y)

    def own(x: Any) -> Any:
        z = torch.zeros(2)
        z[0] = x
        z.mul_(x)
        w = x * 1
        w.mul_(3)
        return z.sum() + w

    see(torch.func.grad(own)(x))
    see(torch.func.grad(lambda x: torch.func.grad(own)(x) * x)(x))
    y.add_(1)
    see(y)


@script
def arguments_are_checked(torch: Any, see: See) -> None:
    functional, nn = torch.nn.functional, torch.nn
    derivatives, two = torch.autograd.functional, torch.ones(2)
    for f in (
        lambda: derivatives.jacobian(lambda x: torch.ones(2), two, strict=True),
        lambda: derivatives.vjp(lambda x: torch.ones(()), two, strict=True),
        lambda: derivatives.jacobian(lambda x, y: x * 2, (two, two), strict=True),
        lambda: functional.binary_cross_entropy(torch.tensor([2.0]), torch.tensor([1.0])),
        lambda: functional.binary_cross_entropy(torch.tensor([float("nan")]), torch.tensor([1.0])),
        lambda: functional.embedding(torch.tensor([-1]), torch.ones(3, 2)),
        lambda: functional.embedding(torch.tensor([3]), torch.ones(3, 2)),
        lambda: functional.embedding(torch.tensor([1.0]), torch.ones(3, 2)),
        lambda: functional.one_hot(torch.tensor([-1]), 3),
        lambda: functional.one_hot(torch.tensor([3]), 3),
        lambda: functional.one_hot(torch.tensor([1.0]), 3),
        lambda: torch.ones(2, 3).gather(1, torch.tensor([[5]])),
        lambda: torch.ones(2, 3).gather(1, torch.tensor([[-1]])),
        lambda: torch.ones(2, 3).index_select(0, torch.tensor([-1])),
        lambda: torch.ones(3).mv(torch.ones(3)),
        lambda: functional.dropout(two, p=1.5),
    ):  # fmt: skip
        raises(see, f)
    m = nn.Module()
    m.taken = 1
    for f in (
        lambda: m.register_buffer("a.b", two), lambda: m.register_buffer("a", 3), lambda: m.register_buffer("taken", two),
        lambda: m.register_buffer("", two), lambda: m.register_parameter("", None), lambda: m.register_parameter("a", two),
        lambda: m.register_parameter("forward", None), lambda: m.add_module("a", 3),
        lambda: m.add_module("a.b", nn.Module()), lambda: m.add_module("taken", nn.Module()),
        lambda: m.register_module("", nn.Module()),
    ):  # fmt: skip
        raises(see, f)


@script
def counts_shapes_and_states(torch: Any, see: See) -> None:
    norm = torch.nn.BatchNorm1d(2, momentum=None)
    for rows in ([[1.0, 2.0], [3.0, 5.0]], [[1.0, 2.0], [7.0, 5.0]]):
        norm(torch.tensor(rows))
        see((norm.num_batches_tracked, norm.running_mean))
    see(torch.nn.functional.normalize(torch.tensor(3.0), dim=0))
    size = torch.ones(2, 3).shape
    for made in (size + (1,), (1,) + size, size * 2, 2 * size, size[:1], size + size):
        see((type(made).__name__, tuple(made)))

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.k, self.inner = 1, None

        def get_extra_state(self) -> Any:
            return {"k": self.k}

        def set_extra_state(self, state: Any) -> None:
            self.k = state["k"]

    outer, other = Counting(), Counting()
    outer.inner, other.inner = Counting(), Counting()
    outer.k, outer.inner.k = 5, 6
    see(list(outer.state_dict()))
    see(other.load_state_dict(outer.state_dict()).missing_keys)
    see((other.k, other.inner.k))


@script
def keywords_by_numpys_names_and_for_starred_arguments(torch: Any, see: See) -> None:
    x = torch.arange(6.0).view(2, 3)
    see([x.sum(axis=1), x.mean(axis=0, keepdims=True), torch.cumprod(x, axis=0), torch.cat([x, x], axis=1)])
    see([x.argmax(axis=1), x.max(axis=0)[0], torch.stack([x, x], axis=0), x.unsqueeze(axis=0), x.var(axis=0)])
    see([torch.logsumexp(x, axis=1, keepdims=True), x.sort(axis=0)[0], x.median(axis=0)[0], x.unbind(axis=0)[0]])
    see([x.flip(dims=(0,)), torch.flip(x, dims=[0, 1]), x.permute(dims=(1, 0)), torch.permute(x, dims=(1, 0))])
    see(
        [
            x.reshape(shape=(3, 2)),
            x.view(size=(6,)),
            x.expand(size=(4, 2, 3)),
            x.repeat(repeats=(2, 1)),
            x.tile(dims=(2,)),
        ]
    )
    see([torch.zeros(size=(2, 2)), torch.ones(size=(2,)), tuple(torch.rand(size=(2, 3)).shape)])
    y = x.clone().requires_grad_()
    (y.sum(axis=0) * y.flip(dims=(1,)).mean(axis=1, keepdims=True)).sum().backward()
    see(y.grad)
    raises(see, lambda: x.sum(axes=1), text=False)


@script
def sequences_as_indices(torch: Any, see: See) -> None:
    x = torch.arange(6.0).view(2, 3)
    see([x[range(2)], x[range(2), range(1, 3)], x[:, range(0, 3, 2)], x[range(1)], x[range(0)], x[..., [2, 0]]])
    y = x.clone().requires_grad_()
    (y[range(2), [2, 0]] * 3).sum().backward()
    see(y.grad)
    z = x.clone()
    z[range(2), [0, 2]] = 9.0
    z[range(1), range(1)] += 1
    see(z)
    raises(see, lambda: x[1.5])
    raises(see, lambda: x[0, 1.5])


@script
def reductions_of_a_0d_tensor_along_its_dim(torch: Any, see: See) -> None:
    for dim in (0, -1, (0,), (-1,)):
        x = torch.tensor(2.0, requires_grad=True)
        outs = [
            x.sum(dim),
            x.mean(dim),
            x.amax(dim),
            x.amin(dim),
            x.logsumexp(dim),
            x.norm(dim=dim),
            x.sum(dim, keepdim=True),
        ]
        outs += [x.sum(dim, keepdim=True), x.var(dim, unbiased=False)]
        see([out.detach() for out in outs])
        sum(outs[:-1]).backward()
        see(x.grad)
        if isinstance(dim, int):
            see([x.argmax(dim), x.argmin(dim), x.prod(dim).detach(), x.std(dim, unbiased=False).detach()])
    for bad in (1, -2, (1,)):
        for reduce in (x.sum, x.mean, x.amax, x.logsumexp):
            raises(see, lambda: reduce(bad))  # noqa: B023


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_engine_keeps_the_rule(name: str) -> None:
    mine, theirs = run(gradverify.engine, SCRIPTS[name]), run(torch_real, SCRIPTS[name])
    assert len(mine) == len(theirs), [(i, a, b) for i, (a, b) in enumerate(zip(mine, theirs)) if repr(a) != repr(b)][:3]
    for k, (a, b) in enumerate(zip(mine, theirs)):
        agree(a, b, f"{name}, observation {k}")
