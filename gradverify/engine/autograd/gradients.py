"""`backward` and `grad`: PyTorch's rules for their arguments, around the walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..dispatch import apply, cast
from ..modes import state
from ..rules import rule
from ..tape import Edge, Node
from ..tensor import Tensor, wrap
from .walk import walk


def _tuple(x: Any) -> tuple[Any, ...]:
    if isinstance(x, str | int | float):
        raise TypeError(f"expected a Tensor or a sequence of Tensors, but got {type(x).__name__}")
    return (x,) if isinstance(x, Tensor | GradientEdge) else tuple(x)


class _NodeOutput(NamedTuple):
    node: Node
    output_nr: int


class GradientEdge(_NodeOutput):
    """An output of a node: stands for the tensor that it made, without keeping its values.

    made  shape and dtype of that tensor, where they are known: to `get_gradient_edge`
    """

    requires_grad, is_leaf = True, False
    made: tuple[tuple[int, ...], np.dtype] | None = None

    def _gradient_edge(self) -> Edge:
        return self.node, self.output_nr


def _seed_at_edge(k: int, out: GradientEdge, g: Any) -> Tensor:
    if g is None:
        if out.made is None:
            raise RuntimeError("grad_outputs must be given where the output is a GradientEdge")
        shape, dtype = out.made
        if int(np.prod(shape)) != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return wrap(np.ones(shape, dtype))
    if out.made is not None:
        shape, dtype = out.made
        if g._data.shape != shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a shape of "
                f"torch.Size({list(shape)})."
            )
        if (g._data.dtype.kind == "c") != (dtype.kind == "c"):
            raise RuntimeError(
                "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
                f"grad_output[{k}] has a dtype of {g.dtype} and output[{k}] has a dtype of {dtypes.OF_NUMPY[dtype]}."
            )
    return g


def _roots(outputs: Sequence[Tensor], gradients: Sequence[Any], create_graph: bool) -> list[tuple[Edge, Any]]:
    """The edges to start from and their gradients, checked: PyTorch's rules for `gradient=`."""
    roots: list[tuple[Edge, Any]] = []
    if len(gradients) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(gradients)} gradients")
    seeds = []
    for k, (out, g) in enumerate(zip(outputs, gradients)):
        if isinstance(out, GradientEdge):
            seeds.append(_seed_at_edge(k, out, g))
        elif g is None:
            if out.requires_grad and out._data.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if out.requires_grad and out._data.dtype.kind == "c":
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {out.dtype}")
            seeds.append(wrap(np.ones_like(out._data)) if out.requires_grad else None)
        elif isinstance(g, Tensor):
            if g._data.shape != out._data.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a shape of "
                    f"{out.shape}."
                )
            if out.is_complex() != g.is_complex():
                raise RuntimeError(
                    "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch "
                    f"in dtype: grad_output[{k}] has a dtype of {g.dtype} and output[{k}] has a dtype of {out.dtype}."
                )
            seeds.append(g)
        else:
            raise TypeError("gradients can be either Tensors or None, but got " + type(g).__name__)
    for k, (out, seed) in enumerate(zip(outputs, seeds)):
        if isinstance(out, GradientEdge):
            assert seed is not None
            roots.append((out._gradient_edge(), seed if create_graph or state.duals else seed._data))
            continue
        if not out.requires_grad or (out.is_leaf and out._borrows):
            raise RuntimeError(f"element {k} of tensors does not require grad and does not have a grad_fn")
        assert seed is not None
        if seed._data.dtype != out._data.dtype:
            seed = cast(seed, out._data.dtype)
        roots.append((out._gradient_edge(), seed if create_graph or state.duals else seed._data))
    return roots


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves (or of `inputs`, if given).

    Raises RuntimeError as PyTorch does: for a non-scalar without a gradient, a tensor that does not require grad, a graph
    whose buffers are gone, a saved tensor that was modified in place.
    """
    outputs = _tuple(tensors)
    if inputs is not None and not isinstance(inputs, Tensor) and len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    gradients = [None] * len(outputs) if grad_tensors is None else list(_tuple(grad_tensors))
    roots = _roots(outputs, gradients, create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        walk(roots, retain_graph=retain, create_graph=create_graph)
        return
    given = _tuple(inputs)
    for x in given:
        if not x.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    leaves = [x for x in given if x.is_leaf]
    inner = [x for x in given if not x.is_leaf]
    if not inner:
        walk(
            roots,
            retain_graph=retain,
            create_graph=create_graph,
            accumulate_only={x._gradient_edge()[0] for x in leaves},
        )
        return
    # A non-leaf has no AccumulateGrad node. PyTorch makes it retain its gradient, from now on.
    for x in inner:
        if isinstance(x, Tensor):
            x.retain_grad()
    walk(
        roots,
        retain_graph=retain,
        create_graph=create_graph,
        capture=[x._gradient_edge() for x in inner],
        accumulate_only={x._gradient_edge()[0] for x in leaves},
    )


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, returned; no `.grad` is touched.

    An input that the outputs do not depend on is an error, unless `allow_unused` (then its gradient is None) or
    `materialize_grads` (then zeros).
    """
    outs, given = _tuple(outputs), _tuple(inputs)
    if not given:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    if allow_unused is None:
        allow_unused = materialize_grads
    elif not allow_unused and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    gradients = [None] * len(outs) if grad_outputs is None else list(_tuple(grad_outputs))
    if is_grads_batched:
        for k, (y, g) in enumerate(zip(outs, gradients)):
            if g is not None and tuple(g.shape[1:]) != tuple(y.shape):
                raise RuntimeError(
                    "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                    "dimension. The sizes of the remaining dimensions are expected to match the shape of corresponding "
                    f"output, but a mismatch was detected: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a "
                    f"shape of {y.shape}."
                )
        rows = [
            grad(outs, given, [None if g is None else g[k] for g in gradients], True, create_graph, True, allow_unused)
            for k in range(len(next(g for g in gradients if g is not None)))
        ]
        return tuple(None if col[0] is None else apply(rule("stack"), col, {"axis": 0}) for col in zip(*rows))
    roots = _roots(outs, gradients, create_graph)
    for x in given:
        if not x.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    retain = create_graph if retain_graph is None else retain_graph
    found = walk(roots, retain_graph=retain, create_graph=create_graph, capture=[x._gradient_edge() for x in given])
    result = []
    for k, (x, g) in enumerate(zip(given, found)):
        if g is None:
            if not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {k} appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
            if materialize_grads and isinstance(x, GradientEdge):
                raise RuntimeError("materialize_grads cannot be used when the given input is a GradientEdge")
            zeros = wrap(np.zeros_like(x._data)) if materialize_grads else None
            result.append(zeros if zeros is None else zeros.requires_grad_(create_graph))
        else:
            result.append(g if isinstance(g, Tensor) else wrap(g))
    return tuple(result)
