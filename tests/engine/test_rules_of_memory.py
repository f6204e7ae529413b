"""Layouts, storages, several outputs of one node, and switches: every script runs under both modules."""

from __future__ import annotations

import threading
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


@script
def strided_views_have_the_gradient_of_their_entries(torch: Any, see: See) -> None:
    geometries = [((2, 2), (1, 2), 1), ((3,), (2,), 0), ((2, 3), (0, 1), 2), ((4,), (1,), None), ((6,), (1,), 0)]
    for size, stride, offset in geometries:
        a = torch.arange(6.0).requires_grad_()
        y = a.as_strided(size, stride, offset)
        see((y, y.stride(), y.storage_offset()))
        (g,) = torch.autograd.grad((y**3).sum(), a, create_graph=True)
        see(g.detach())
        see(torch.autograd.grad(g.pow(2).sum(), a, allow_unused=True))
    a = torch.arange(6.0)
    raises(see, lambda: a.as_strided((4,), (2,)), text=False)
    raises(see, lambda: a.as_strided((4,), (1, 1)))


@script
def strided_views_of_what_overlaps_share_the_gradient(torch: Any, see: See) -> None:
    a = torch.arange(3.0).requires_grad_()
    b = a.expand(2, 3)
    see(torch.autograd.grad((b.as_strided((2, 3), (0, 1), 0) * torch.arange(6.0).view(2, 3)).sum(), a))
    see(torch.autograd.grad((b.as_strided((3,), (1,), 0) * torch.arange(3.0)).sum(), a))
    c = torch.arange(8.0).requires_grad_()
    part = (c * 1)[2:6]
    see(torch.autograd.grad(part.as_strided((4,), (1,), 0).sum(), c))  # what lies outside of the part has no gradient


@script
def writes_through_strided_views_reach_the_base(torch: Any, see: See) -> None:
    for size, stride, offset in (((2, 2), (1, 2), 1), ((3,), (2,), 0), ((6,), (1,), 0)):
        a = torch.arange(6.0).requires_grad_()
        b = a * 1
        b.as_strided(size, stride, offset).mul_(3)
        (g,) = torch.autograd.grad((b * b).sum(), a, create_graph=True)
        see((b.detach(), g.detach()))
        see(torch.autograd.grad(g.pow(2).sum(), a))
    a = torch.arange(6.0).requires_grad_()
    b = (a * 1).view(2, 3).t()
    b.as_strided((3,), (1,), 2).exp_()
    see(torch.autograd.grad(b.pow(2).sum(), a))


@script
def a_layout_changed_in_place_keeps_views_and_gradients(torch: Any, see: See) -> None:
    for change in (
        lambda x: x.t_(), lambda x: x.transpose_(0, 1), lambda x: x.unsqueeze_(0), lambda x: x.swapaxes_(1, 0),
        lambda x: x.as_strided_((3, 2), (1, 3), 0), lambda x: x.swapdims_(0, 0),
    ):  # fmt: skip
        a = torch.arange(6.0).requires_grad_()
        b = (a * 1).view(2, 3).clone()
        early = b.view(6)  # of the layout before
        see(change(b) is b)
        late = b[0]
        see((b.detach(), b.stride(), b._version, early.detach(), late.detach()))
        early.mul_(torch.arange(6.0))
        late.add_(1)
        see((b.detach(), early.detach(), late.detach()))
        see(torch.autograd.grad((b * b).sum() + early.sum(), a))


@script
def a_layout_changed_in_place_of_a_view(torch: Any, see: See) -> None:
    a = torch.arange(6.0).requires_grad_()
    b = a * 1
    v, w = b.view(2, 3), b.view(3, 2)
    v.t_()
    v.mul_(2)
    w.add_(1)
    see((v.detach(), w.detach(), b.detach()))
    see(torch.autograd.grad((v * v).sum() + w.sum(), a))
    leaf = torch.ones(2, 3, requires_grad=True)
    raises(see, lambda: leaf.t_())
    raises(see, lambda: leaf.view(6).unsqueeze_(0))
    with torch.no_grad():
        made = (leaf * 1).view(6)
    made.unsqueeze_(0)
    see((made, leaf.detach().clone().unsqueeze_(-1).squeeze_(-1).shape))
    base = (leaf * 1).clone()
    with torch.no_grad():
        view = base.view(6)
    raises(see, lambda: view.unsqueeze_(0), text=False)
    raises(see, lambda: base.unbind()[0].unsqueeze_(0), text=False)


@script
def storages_and_sizes(torch: Any, see: See) -> None:
    x = torch.arange(6.0)
    part = x[2:5]
    see(
        (
            part.storage_offset(),
            len(part.untyped_storage()),
            part.untyped_storage().nbytes(),
            x.view(2, 3).t().storage_offset(),
        )
    )
    see(part.untyped_storage().data_ptr() == x.untyped_storage().data_ptr())
    y = torch.rand(1)
    y.resize_((1, 2))
    see((y._version, y.shape))
    y.resize_as_(torch.rand(3))
    y.resize_((3,))
    see((y._version, y.shape))
    raises(see, lambda: torch.ones(2, requires_grad=True).resize_(3))
    p = torch.nn.Parameter(torch.ones(4))
    for _ in range(2):
        with torch.no_grad():
            p.set_(p[1:])
            p.grad = None
        torch.cat((p, p)).sum().backward()
        see(p.grad)
    leaf = torch.ones(2, requires_grad=True)
    edge, out = torch.autograd.graph.get_gradient_edge(leaf), leaf.clone()
    with torch.no_grad():
        leaf.set_(torch.zeros(2))
    raises(see, lambda: torch.autograd.grad(out.sum(), leaf, retain_graph=True))
    see(torch.autograd.grad(out.sum(), edge))
    c = torch.empty_strided((2, 2), (4, 2)).copy_(torch.ones(2, 2)).requires_grad_()
    (c * 2).sum().backward()
    see((c.grad, c.grad.stride(), c.stride()))


@script
def parts_of_one_call_are_outputs_of_one_node(torch: Any, see: See) -> None:
    for take in (
        lambda x: x.unbind(), lambda x: x.split(2), lambda x: x.split([1, 3]), lambda x: x.chunk(2),
        lambda x: torch.var_mean(x, 0), lambda x: torch.std_mean(x),
    ):  # fmt: skip
        x = (torch.arange(12.0).view(4, 3) / 7).requires_grad_()
        parts = take(x)
        see([type(p.grad_fn).__name__ for p in parts])
        see([p.grad_fn is parts[0].grad_fn for p in parts])
        see([p.output_nr for p in parts])
        see((len(parts[0].grad_fn.next_functions), type(parts[0].grad_fn.next_functions[0][0]).__name__))
        heard: list[Any] = []
        parts[0].register_hook(heard.append)
        parts[1].sum().backward(retain_graph=True)
        see([g if g is None else g.clone() for g in heard])
        see(x.grad)
        counted = []
        parts[0].grad_fn.register_prehook(lambda gs, c=counted: c.append(len(gs)))
        (g,) = torch.autograd.grad((parts[0] ** 2).sum() + parts[1].sum(), x, create_graph=True)
        see((g.detach(), counted))
        see(torch.autograd.grad((g * torch.arange(12.0).view(4, 3)).sum(), x, allow_unused=True))


@script
def nodes_are_called_and_recognised(torch: Any, see: See) -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    y, z, g = x.exp(), x * x.detach(), torch.tensor([1.0, 10.0])
    see((y.grad_fn(g), z.grad_fn(g)))
    raises(see, lambda: y.grad_fn(), text=False)
    raises(see, lambda: y.grad_fn(g, g), text=False)
    node = torch.autograd.graph.Node
    see(
        (
            isinstance(y.grad_fn, node),
            issubclass(type(y.grad_fn), node),
            node in type(y.grad_fn).mro(),
            isinstance(1, node),
        )
    )
    see((isinstance(node, node), issubclass(node, node)))
    raises(see, lambda: delattr(x, "_grad_fn"), text=False)
    raises(see, lambda: delattr(x, "_backward_hooks"), text=False)


@script
def once_differentiable_says_so_of_every_output(torch: Any, see: See) -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x * 2, y * 3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return g * 2, h * 3

    x, y = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    a, b = Twice.apply(x, y)
    (a * a + b).backward(create_graph=True)
    see((x.grad.detach(), x.grad.requires_grad, y.grad.requires_grad))
    names = lambda fn: [type(n).__name__ for n, _ in fn.next_functions]
    see((type(x.grad.grad_fn).__name__, names(x.grad.grad_fn), names(x.grad.grad_fn.next_functions[1][0])))
    raises(see, lambda: x.grad.backward())


@script
def a_saved_constant_comes_back_from_hooks_as_it_is(torch: Any, see: See) -> None:
    given, back = [], []

    class Keep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            back.extend(ctx.saved_tensors)
            return g * back[1], None

    x, y = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (given.append(t), t)[1], lambda t: t):
        Keep.apply(x, y).backward()
    see([a is b for a, b in zip(given, back)][1])
    see((back[0].requires_grad, back[1].requires_grad, x.grad))


@script
def hooks_on_several_gradients_keep_threads_apart(torch: Any, see: See) -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    counts: list[int] = []
    handle = torch.autograd.graph.register_multi_grad_hook(
        (a, b), lambda gs: counts.append(sum(g is not None for g in gs))
    )
    out = (a * b).sum()
    threads = [threading.Thread(target=lambda: out.backward(inputs=(a, b), retain_graph=True)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    see(counts)

    class Breaks(torch.autograd.Function):
        fails = True
        forward = staticmethod(lambda ctx, x: x.clone())

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            if Breaks.fails:
                raise RuntimeError("no")
            return g

    y = (Breaks.apply(a) * b).sum()
    raises(see, lambda: y.backward(retain_graph=True), text=False)  # b's gradient has come, a's has not
    Breaks.fails = False
    y.backward(inputs=(a, b))
    see(counts)
    handle.remove()


@script
def switches(torch: Any, see: See) -> None:
    def f(x: Any) -> Any:
        out = x.clone().view(-1)
        out.add_(1)
        return type(out.grad_fn).__name__

    x = torch.ones(2, 2, requires_grad=True)
    fwd = torch.autograd.forward_ad
    see((f(x), torch.autograd.is_view_replay_enabled()))
    with fwd.dual_level():
        dual = fwd.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
        see(fwd.unpack_dual(dual * 3).tangent)
        raises(see, lambda: fwd.enter_dual_level())
        alone = dual.clone()
        alone.detach_()
        see(fwd.unpack_dual(alone * 2).tangent)
    primal, tangent = torch.arange(5.0)[:4], torch.ones(4)
    with fwd.dual_level():
        dual = fwd.make_dual(primal, tangent)
        d = fwd.unpack_dual(dual).tangent
        d *= 2  # a copy, since its storage was smaller than that of the primal
        see((tangent, d, dual.as_strided((5,), (1,), 0).shape))
        same = fwd.make_dual(torch.arange(4.0), tangent)
        see(fwd.unpack_dual(same).tangent is tangent)


@script
def a_view_from_before_its_base_required_grad_saves_and_leads_nowhere(torch: Any, see: See) -> None:
    for f in (lambda y: y**2, lambda y: y * y, lambda y: y.exp(), lambda y: y + 1):
        x = torch.tensor([2.0, -1.0])
        y = x[0:1]
        x.requires_grad_(True)
        z = f(y).sum()
        see((y.requires_grad, y.is_leaf, z.requires_grad, len(z.grad_fn.next_functions)))
        z.backward()
        raises(see, lambda z=z: z.backward(), text=False)
        see((y.grad, x.grad))
        (y * x).sum().backward()
        see(x.grad)


@script
def values_that_occur(torch: Any, see: See) -> None:
    x = torch.tensor([3.0, 1.0, 1.0, 2.0, 3.0], requires_grad=True)
    for y in (torch.unique(x), torch.unique(x, return_inverse=True)[0], torch.unique_consecutive(x)):
        see((y.detach(), y.requires_grad))
        raises(see, lambda y=y: y.sum().backward(), text=False)
    see(torch.unique(x, return_inverse=True, return_counts=True)[1:])
    m = torch.tensor([[1, 2], [1, 2], [3, 4], [1, 2]])
    see(torch.unique_consecutive(m, return_inverse=True, return_counts=True, dim=0))
    see(torch.unique_consecutive(m, dim=1))


@script
def in_place_activations_write(torch: Any, see: See) -> None:
    f = torch.nn.functional
    for change in (
        lambda x: f.threshold(x, 0.0, -7.0, True), lambda x: f.rrelu(x, 0.5, 0.5, False, True),
        lambda x: f.rrelu(x, 0.25, 0.25, True, True), lambda x: f.dropout2d(x, 1.0, True, True),
        lambda x: f.dropout(x, 1.0, True, True), lambda x: f.alpha_dropout(x, 1.0, True, True),
    ):  # fmt: skip
        x = torch.arange(-4.0, 4.0).view(2, 2, 2).requires_grad_()
        y = x * 1
        out = change(y)
        see((out is y, y.detach(), y._version > 0))
        see(torch.autograd.grad((out * out).sum(), x))
    layer = torch.nn.Threshold(0.0, 5.0, inplace=True)
    y = torch.tensor([-1.0, 1.0])
    see((layer(y) is y, y))


@script
def jacobians_row_by_row_and_at_once(torch: Any, see: See) -> None:
    x, y = torch.arange(3.0), torch.arange(2.0) + 1
    for vectorize in (True, False):
        see(
            torch.autograd.functional.jacobian(
                lambda a, b: (a.exp().sum() * b, a * b.sum()), (x, y), vectorize=vectorize
            )
        )
        see(torch.autograd.functional.jacobian(lambda a: a[1:] * 2, x, vectorize=vectorize))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_engine_keeps_the_rule(name: str) -> None:
    mine, theirs = run(gradverify.engine, SCRIPTS[name]), run(torch_real, SCRIPTS[name])
    assert len(mine) == len(theirs), [(i, a, b) for i, (a, b) in enumerate(zip(mine, theirs)) if repr(a) != repr(b)][:3]
    for k, (a, b) in enumerate(zip(mine, theirs)):
        agree(a, b, f"{name}, observation {k}")
