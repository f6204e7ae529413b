"""Derivatives of derivatives, and forward against reverse."""

from __future__ import annotations

from ..register import law
from ..session import Session

GRAD = "https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html"
FORWARD = "https://docs.pytorch.org/tutorials/intermediate/forward_ad_usage.html"
JAX = "https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html"


@law(needs={"create_graph"}, source=GRAD)
def create_graph_records(t: Session) -> None:
    """With create_graph the gradient is itself differentiable; gradient penalties stand on it."""
    x = t.tensor(3.0, requires_grad=True)
    (g,) = t.grad(x * x * x, [x], create_graph=True)
    (h,) = t.grad(g, [x])
    t.equal(h, 18.0)


@law(needs={"create_graph"}, source=GRAD)
def third_derivative(t: Session) -> None:
    """And again: there is no highest order."""
    x = t.tensor(2.0, requires_grad=True)
    (g,) = t.grad(x * x * x * x, [x], create_graph=True)
    (h,) = t.grad(g, [x], create_graph=True)
    (k,) = t.grad(h, [x])
    t.equal(k, 48.0)


@law(needs={"create_graph"}, source=GRAD)
def without_create_graph_nothing_is_recorded(t: Session) -> None:
    """Without create_graph a gradient requires none: else every step of training would keep all steps before it."""
    x = t.tensor(3.0, requires_grad=True)
    (g,) = t.grad(x * x, [x])
    t.equal(g.requires_grad, False)
    (x * x).backward()
    t.equal(x.grad.requires_grad, False)


@law(needs={"create_graph"}, source=GRAD)
def penalty_reaches_all_parameters(t: Session) -> None:
    """The gradient of a gradient flows to all that it depends on, not only to what was differentiated by."""
    x, w = t.tensor(3.0, requires_grad=True), t.tensor(5.0, requires_grad=True)
    (g,) = t.grad(x * x * w, [x], create_graph=True)
    (g * g).backward()
    t.equal(w.grad, 360.0)  # d(2xw)^2/dw = 8 x^2 w
    t.equal(x.grad, 600.0)  # 8 x w^2


@law(needs={"create_graph", "cotangent"}, source=GRAD)
def gradient_is_differentiable_in_the_cotangent(t: Session) -> None:
    """The gradient is linear in the cotangent, and with create_graph that is recorded too: the trick by which reverse mode
    gives forward mode."""
    x, v = t.tensor([3.0, 1.0], requires_grad=True), t.tensor([1.0, 1.0], requires_grad=True)
    (g,) = t.grad(x * x, [x], v, create_graph=True)
    (j,) = t.grad(g, [v], t.tensor([1.0, 10.0]))
    t.equal(j, [6.0, 20.0])


@law(needs={"create_graph"}, source=GRAD)
def backward_with_create_graph(t: Session) -> None:
    """backward(create_graph=True) leaves a .grad that is part of a graph."""
    x = t.tensor(3.0, requires_grad=True)
    (x * x * x).backward(create_graph=True)
    t.equal(x.grad.requires_grad, True)
    (h,) = t.grad(x.grad, [x])
    t.equal(h, 18.0)


@law(needs={"second", "arrays"}, source=JAX)
def hessian_is_right(t: Session) -> None:
    """The Hessian of sum(x)^3 at [1, 1] times [1, 0]: 6 sum(x) in every entry."""
    h = t.hessian_times(lambda x: x.sum() ** 3, [1.0, 1.0], [1.0, 0.0])
    t.equal(h, [12.0, 12.0])


@law(
    needs={"second", "arrays"},
    source="Schwarz's theorem; https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html",
)
def hessian_is_symmetric(t: Session) -> None:
    """u·(Hv) = v·(Hu), here for the polynomial sum(x^3) + sum(x)^3 in small integers."""
    u, v = [1.0, -2.0, 0.0], [3.0, 1.0, 2.0]

    def f(x):
        return (x * x * x).sum() + x.sum() ** 3

    hv, hu = (t.hessian_times(f, [1.0, 2.0, -1.0], w) for w in (v, u))
    t.equal((hv * t.tensor(u)).sum(), (hu * t.tensor(v)).sum())


@law(needs={"jvp", "cotangent"}, source=JAX)
def forward_and_reverse_are_dual(t: Session) -> None:
    """⟨g, Jv⟩ = ⟨Jᵀg, v⟩: the two modes describe one linear map."""
    x, v, g = [1.0, 2.0, -1.0], [3.0, 1.0, 2.0], [1.0, -1.0, 2.0]

    def f(x):
        return x * x * x.sum()

    forward = (t.jvp(f, x, v) * t.tensor(g)).sum()
    (reverse,) = t.gradient(f, x, cotangent=g)
    t.equal(forward, (reverse * t.tensor(v)).sum())


@law(needs={"jvp"}, source=JAX)
def jvp_is_right(t: Session) -> None:
    """The derivative of x² at 3 along 5."""
    t.equal(t.jvp(lambda x: x * x, [3.0], [5.0]), [30.0])


@law(needs={"jvp", "inplace", "views"}, source=FORWARD)
def tangents_follow_writes_through_views(t: Session) -> None:
    """What is written to a part has its tangent there, and the rest keeps its own."""

    def f(x):
        y = x * 2.0
        y[0:1].mul_(3.0)
        return y * y

    t.equal(t.jvp(f, [3.0, 1.0], [1.0, 10.0]), [216.0, 80.0])  # 2 y dy, y = [18, 2], dy = [6, 20]


@law(needs={"jvp", "inplace", "views"}, source=FORWARD)
def a_constant_written_has_no_tangent(t: Session) -> None:
    """A part that a constant was written to has tangent 0, however it was derived before."""

    def f(x):
        y = x * 2.0
        y[0:1].zero_()
        return y * 5.0

    t.equal(t.jvp(f, [3.0, 1.0], [1.0, 10.0]), [0.0, 100.0])


@law(needs={"jvp", "inplace", "views"}, source=FORWARD)
def a_view_sees_the_tangents_of_its_base(t: Session) -> None:
    """After a write to the base a view of it has the new tangents."""

    def f(x):
        y = x * 2.0
        v = y[0:1]
        y.mul_(x)
        return v * 1.0

    t.equal(t.jvp(f, [3.0, 1.0], [1.0, 10.0]), [12.0])  # d(2 x^2) = 4 x dx


@law(
    needs={"tape", "flags", "arrays"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html",
)
def a_norm_of_order_zero_has_no_slope(t: Session) -> None:
    """The number of entries that are not 0 does not change with them."""
    x = t.tensor([3.0, 0.0, -2.0], requires_grad=True)
    (x.norm(0) + x.sum()).backward()
    t.equal(x.grad, [1.0, 1.0, 1.0])


@law(
    needs={"tape", "flags", "arrays"},
    source="https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html",
)
def a_norm_of_order_minus_infinity_is_the_least_entry(t: Session) -> None:
    """The least absolute value has its sign for its slope; entries that are alike share it."""
    x = t.tensor([3.0, -1.0, 2.0], requires_grad=True)
    t.do('{0}.norm(float("-inf"))', x).backward()
    t.equal(x.grad, [0.0, -1.0, 0.0])
    y = t.tensor([1.0, -1.0, 2.0], requires_grad=True)
    t.do('{0}.norm(float("-inf"))', y).backward()
    t.equal(y.grad, [0.5, -0.5, 0.0])
