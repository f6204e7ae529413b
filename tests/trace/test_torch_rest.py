"""A backward pass that continues the recorded forward run gives the same trace as one with a forward run of its own."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gradverify.core.graph import Apply, Constant, Graph  # noqa: E402
from gradverify.frameworks.torch import derivatives, tracer  # noqa: E402
from gradverify.frameworks.torch.arrays import from_numpy  # noqa: E402
from gradverify.frameworks.torch.tracer import trace  # noqa: E402
from gradverify.judge import exact  # noqa: E402
from gradverify.namespaces.dtypes import rounded  # noqa: E402

F = torch.nn.functional


@pytest.fixture(autouse=True)
def without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Triton's interpreter is loaded a backward pass may launch kernels, and is recorded in a run of its own."""
    monkeypatch.delitem(sys.modules, "triton.runtime.interpreter", raising=False)


class Norm(torch.autograd.Function):
    """A Function whose backward pass has several outputs, and saves an output."""

    @staticmethod
    def forward(ctx, x, w):
        r = torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
        ctx.save_for_backward(x, w, r)
        return x * r * w

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        x, w, r = ctx.saved_tensors
        h = x * r
        return r * (g * w - h * (g * w * h).mean(-1, keepdim=True)), (g * h).sum(0)


FUNCTIONS = {
    "elementwise": lambda x, w: torch.exp(torch.tanh(x @ w)) * x,
    "two outputs": lambda x, w: (torch.sigmoid(x @ w), x.sum(0)),
    "views": lambda x, w: (x @ w).reshape(2, -1).transpose(0, 1)[1:],
    "in place": lambda x, w: (x @ w).mul_(2).add_(x),
    "a Function": lambda x, w: Norm.apply(x, w[0]),
    "an unused argument": lambda x, w: x.cos(),
    "one output without a graph": lambda x, w: (x * w, torch.ones(3, dtype=x.dtype)),
}
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def drawn(dtype):
    make = torch.Generator().manual_seed(3)
    return tuple(torch.randn(4, 4, generator=make, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(2))


def cotangents(traced):
    rng = np.random.default_rng(1)
    return tuple(rounded(rng.standard_normal(o.shape), o.dtype) for o in traced.outputs if o.position is not None)


def point(traced):
    """The values as a case has them, in the arguments' own dtypes."""
    return {a.name: rounded(traced.values[a.name], a.dtype) for a in traced.arguments}


def text(graph: Graph) -> list[str]:
    """The nodes that the outputs need, in order, without their names."""
    seen: dict[int, str] = {}
    for k, n in enumerate(graph.nodes):
        if k in graph.active:
            of = [seen[a] for a in n.args] if isinstance(n, Apply) else []
            what = (n.op, n.params) if isinstance(n, Apply) else n.value if isinstance(n, Constant) else "input"
            seen[k] = f"{what}{n.shape}({', '.join(of)})"
    return [seen[o] for o in graph.outputs]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_rest_of_a_run_is_the_backward_pass(name, dtype):
    traced = trace(FUNCTIONS[name], drawn(dtype), strict=False)
    given = cotangents(traced)
    own = derivatives.trace_vjp(traced.function, point(traced), traced.wrt, given)
    if traced.pull is None:
        assert traced.notes or traced.graph is None
        return
    rest = traced.pull(point(traced), traced.wrt, given)
    assert rest is not None
    assert own.graph is not None
    assert rest.graph is not None
    assert text(rest.graph) == text(own.graph)
    assert rest.notes == own.notes
    assert rest.formats == own.formats
    formats = lambda t: [t.node_formats.get(o) for o in t.graph.outputs]
    assert formats(rest) == formats(own)
    again = [from_numpy(v).requires_grad_(k < 2) for k, v in enumerate((*point(traced).values(), *given))]
    for a, b in zip(rest.function(*again), own.function(*again)):
        assert torch.equal(a, b)


def test_most_functions_go_on():
    assert all(trace(f, drawn(torch.float64)).pull for n, f in FUNCTIONS.items() if n != "one output without a graph")


def test_a_run_goes_on_once_and_at_its_own_point():
    traced = trace(FUNCTIONS["elementwise"], drawn(torch.float64))
    other = {**traced.values, "x": traced.values["x"] + 1}
    assert traced.pull(other, traced.wrt, cotangents(traced)) is None
    traced = trace(FUNCTIONS["elementwise"], drawn(torch.float64))
    assert traced.pull(traced.values, traced.wrt, cotangents(traced)) is not None
    assert traced.pull(traced.values, traced.wrt, cotangents(traced)) is None


def test_a_run_goes_on_where_the_same_inputs_are_differentiated():
    traced = trace(FUNCTIONS["elementwise"], drawn(torch.float64))
    assert traced.pull(traced.values, ("x",), cotangents(traced)) is None


def branches(x, w):
    return x * w if x.sum() > -1e9 else x


def detaches(x, w):
    return x * w.detach()


@pytest.mark.parametrize("fn", [branches, detaches])
def test_what_was_noted_of_a_run_is_noted_of_the_backward_pass(fn):
    assert trace(fn, drawn(torch.float64), strict=False).pull is None


def test_a_backward_pass_that_raises_is_asked_in_a_run_of_its_own():
    class Raising(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise ValueError("no")

    traced = trace(Raising.apply, (torch.ones(2, dtype=torch.float64, requires_grad=True),))
    assert traced.pull is not None
    assert traced.pull(traced.values, traced.wrt, cotangents(traced)) is None


def test_a_check_records_the_function_once(monkeypatch):
    import gradverify

    asked = []
    monkeypatch.setattr(derivatives, "trace_vjp", lambda *a: asked.append(a))
    f = FUNCTIONS["elementwise"]
    verdict = gradverify.check(f, *drawn(torch.float64), effort="quick")
    assert verdict
    assert not asked
    assert verdict.formula.right


ACTIVATIONS = [
    torch.tanh, torch.sigmoid, torch.relu, lambda x: F.threshold(x, 0.3, 0.1), F.gelu, F.silu, F.elu, F.leaky_relu,
    F.hardtanh, F.hardswish, F.hardsigmoid, F.softplus, F.mish, F.logsigmoid, lambda x: F.gelu(x, approximate="tanh"),
    lambda x: F.softmax(x, -1), lambda x: F.softmax(x, 0), lambda x: F.log_softmax(x[0, 0], 0), lambda x: F.glu(x, -1),
    lambda x: F.log_softmax(x, 0), lambda x: F.mse_loss(x, 2 * x), lambda x: F.huber_loss(x, 2 * x, delta=0.5),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("k", range(len(ACTIVATIONS)))
def test_a_decomposition_that_casts_nothing_is_the_same_without_its_casts(k, dtype, monkeypatch):
    def traced():
        x = drawn(dtype)[0]
        found = trace(ACTIVATIONS[k], (x,))
        return derivatives.trace_vjp(found.function, found.values, found.wrt, cotangents(found))

    short = traced()
    monkeypatch.setattr(tracer, "UNCAST", frozenset())
    whole = traced()
    assert short.opaque == whole.opaque
    if short.graph is None:
        return
    assert text(short.graph) == text(whole.graph)
    assert short.node_formats == whole.node_formats
    assert short.notes == whole.notes


def test_some_decompositions_have_casts():
    table = tracer._decompositions()
    assert tracer._without_casts(table[torch.ops.aten.tanh_backward.default]) is not None
    assert tracer._without_casts(table[torch.ops.aten.threshold_backward.default]) is None


def test_runs_are_kept_as_long_as_their_backward_pass_is_evaluated():
    assert tracer.RETAINED == exact.SMALL
