"""A VJP is a linear map, and nothing but a map: it changes nothing, and says the same again."""

from __future__ import annotations

from ..register import law
from ..session import Session, Var

LINEAR = "https://docs.jax.dev/en/latest/jax-primitives.html"
X = [1.0, 2.0, -1.0]


def cubic(x: Var) -> Var:
    """A map whose Jacobian is neither diagonal nor constant."""
    return x * x * x.sum()


@law(needs={"cotangent"}, source=LINEAR)
def scales_with_the_cotangent(t: Session) -> None:
    """Twice the cotangent, twice the gradient: an engine that squares, clips or ignores it is found out."""
    (a,) = t.gradient(cubic, X, cotangent=[1.0, -2.0, 3.0])
    (b,) = t.gradient(cubic, X, cotangent=[-2.0, 4.0, -6.0])
    t.equal(b, a * -2.0)


@law(needs={"cotangent"}, source=LINEAR)
def adds_with_the_cotangent(t: Session) -> None:
    """The gradient for a sum of cotangents is the sum of the gradients."""
    (a,) = t.gradient(cubic, X, cotangent=[1.0, -2.0, 0.0])
    (b,) = t.gradient(cubic, X, cotangent=[0.0, 5.0, 3.0])
    (c,) = t.gradient(cubic, X, cotangent=[1.0, 3.0, 3.0])
    t.equal(c, a + b)


@law(needs={"cotangent"}, source=LINEAR)
def zero_cotangent_zero_gradient(t: Session) -> None:
    """Nothing in, nothing out."""
    (g,) = t.gradient(cubic, X, cotangent=[0.0, 0.0, 0.0])
    t.equal(g, [0.0, 0.0, 0.0])


@law(source="https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html#pure-functions")
def says_the_same_again(t: Session) -> None:
    """A second derivative of the same function at the same place is the same: no state survives the first."""
    t.equal(t.gradient(lambda x: x * x * x, 3.0)[0], 27.0)
    t.equal(t.gradient(lambda x: x * x * x, 3.0)[0], 27.0)


@law(needs={"cotangent"}, source="https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html#pure-functions")
def inputs_stay_as_they_were(t: Session) -> None:
    """Differentiating changes neither the arguments nor the cotangent."""
    if t.has("tape"):
        x, g = t.tensor(X, requires_grad=True), t.tensor([1.0, -2.0, 3.0])
        cubic(x).backward(g)
        t.equal(x, X)
        t.equal(g, [1.0, -2.0, 3.0])
        return
    f, (x,) = t.function(cubic, X)
    g = t.tensor([1.0, -2.0, 3.0])
    t.do(t.engine.spell["vjp"].replace("XS", "{1}").replace("NS", "0").replace("G", "{2}"), f, x, g)
    t.equal(x, X)
    t.equal(g, [1.0, -2.0, 3.0])


@law(needs={"arrays"}, source="https://docs.jax.dev/en/latest/automatic-vectorization.html")
def a_batch_is_its_members(t: Session) -> None:
    """The gradient for a batch is the gradients of its members, in their order."""
    (both,) = t.gradient(lambda x: (x * x * x).sum(), [2.0, -3.0])
    first, second = (t.gradient(lambda x: (x * x * x).sum(), [v])[0] for v in (2.0, -3.0))
    t.equal(both[0:1], first)
    t.equal(both[1:2], second)


@law(needs={"arrays"}, source="https://docs.jax.dev/en/latest/automatic-vectorization.html")
def permuted_batch_permuted_gradient(t: Session) -> None:
    """Members in another order: the same gradients in that order."""
    (a,) = t.gradient(lambda x, y: (x * x * y).sum(), [2.0, -3.0, 5.0], [1.0, 2.0, 3.0])[:1]
    (b,) = t.gradient(lambda x, y: (x * x * y).sum(), [5.0, 2.0, -3.0], [3.0, 1.0, 2.0])[:1]
    t.equal(a, [4.0, -12.0, 30.0])
    t.equal(b, [30.0, 4.0, -12.0])


@law(needs={"flags"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.grad.html")
def gradient_has_the_dtype_of_its_tensor(t: Session) -> None:
    """A float32 leaf in a float64 computation has a float32 gradient, and the same one where both are exact."""
    x = t.do("torch.tensor([3.0, 1.0], dtype=torch.float32, requires_grad=True)")
    (x * t.do("torch.tensor([2.0, 5.0], dtype=torch.float64)")).sum().backward()
    t.equal(x.grad, [2.0, 5.0])
    t.check("{0}.dtype == torch.float32", x.grad)


@law(source="https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.relu.html")
def relu_passes_where_positive(t: Session) -> None:
    """relu passes gradients where its input is positive and stops them where it is negative."""
    for value, slope in ((2.0, 1.0), (-2.0, 0.0)):
        (g,) = t.gradient(lambda x: x.relu() * 1.0, value)
        t.equal(g, slope)


@law(needs={"flags"}, source="https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html")
def precision_changes_no_exact_gradient(t: Session) -> None:
    """Where all numbers are small integers, float32 and float64 have the same gradient, each in its own dtype."""
    for dtype in ("float32", "float64"):
        x = t.do(f"torch.tensor([3.0, -2.0], dtype=torch.{dtype}, requires_grad=True)")
        (x * x * x.sum()).sum().backward()
        t.equal(x.grad, [19.0, 9.0])  # 2 x sum(x) + sum(x^2)
        t.check(f"{{0}}.dtype == torch.{dtype}", x.grad)


@law(needs={"flags", "gpu"}, source="https://docs.pytorch.org/docs/stable/notes/cuda.html")
def a_gpu_agrees_with_the_cpu(t: Session) -> None:
    """The same program on the GPU: the same gradient where nothing is rounded, and on the GPU."""
    x = t.do("torch.tensor([3.0, -2.0], device='cuda', requires_grad=True)")
    (x * x * x.sum()).sum().backward()
    t.check("{0}.device.type == 'cuda'", x.grad)
    t.equal(x.grad, [19.0, 9.0])
