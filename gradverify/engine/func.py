"""`torch.func`: derivatives as functions of functions. They nest: every one is differentiable again.

Arguments and results may be dicts, lists and tuples of tensors (see `trees`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import trees
from .api.creation import default_generator
from .api.indexing import getitem
from .api.joining import stack
from .api.shape import movedim, reshape
from .autograd.gradients import grad as _grad
from .forward import alias, tangent, with_tangent
from .modes import dual_numbers, enable_grad, no_grad, state, transform
from .nn.module import Module
from .nn.stateless import functional_call
from .tape import Node
from .tensor import AccumulateGrad, Tensor, mark_leaf, wrap

__all__ = [
    "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "stack_module_state", "vjp", "vmap",
]  # fmt: skip

Argnums = int | tuple[int, ...]


# ---- ends to differentiate at -----------------------------------------------------------------------------------------


def _as_end(x: Tensor) -> Tensor:
    """`x` as a tensor of its own to differentiate at, still connected to its history."""
    if not (x.is_floating_point() or x.is_complex()):
        raise RuntimeError(f"only Tensors of floating point and complex dtype can require gradients, but got {x.dtype}")
    return x.view_as(x) if x.requires_grad else mark_leaf(_without_history(x))


def _without_history(x: Tensor) -> Tensor:
    """`x` detached, but with its tangents: those belong to a level outside."""
    out = x.detach()
    out._tangents = x._tangents
    return out


def _is_ours(x: Any, own: set[int]) -> bool:
    """Does the history of `x` end at our own ends only?"""
    if not isinstance(x, Tensor) or not x.requires_grad:
        return False
    seen: set[Node] = set()
    stack_ = [x._gradient_edge()[0]]
    while stack_:
        node = stack_.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, AccumulateGrad) and id(node.variable) not in own:
            return False
        stack_ += [edge[0] for edge in node.edges if edge is not None]
    return True


def _let_go(results: Any, ends: Sequence[Tensor], connected: bool) -> Any:
    """Detach the results, but for those that an outer derivative (or a closure) needs.

    Under `no_grad` nobody outside needs any, as PyTorch has it: the mode is the caller's.
    """
    own = {id(x) for x in ends}

    def free(x: Tensor) -> Tensor:
        out = x.detach() if not connected or _is_ours(x, own) else x
        if x._tangents:
            out = alias(out)
            out._tangents = {level: free(d) for level, d in x._tangents.items()}
        return out

    return trees.map_tensors(free, results)


def _numbers(argnums: Argnums, n: int) -> tuple[int, ...]:
    """The positions, counted from the front. Raises RuntimeError for one that is no argument's."""
    if not isinstance(argnums, int | tuple):
        raise RuntimeError(f"argnum must be int or Tuple[int, ...], got: {type(argnums)}")
    which = (argnums,) if isinstance(argnums, int) else argnums
    if not which:
        raise RuntimeError("argnums must be non-empty")
    if not all(isinstance(k, int) for k in which):
        raise RuntimeError(f"argnums elements must be int, got {which}")
    for k in which:
        if not -n <= k < n:
            raise RuntimeError(f"Got argnum={k}, but only {n} positional inputs")
    found = tuple(k % n for k in which)
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique, got {which}")
    return found


def _at_ends(args: Sequence[Any], which: Sequence[int]) -> tuple[list[Any], list[Tensor]]:
    """(The arguments with ends in place of the tensors of those at `which`, the ends)."""
    points = list(args)
    for k in which:
        points[k] = trees.map_tensors(_as_end, args[k])
    return points, [x for k in which for x in trees.tensors(points[k])]


def _with_aux(out: Any, has_aux: bool, name: str) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True")
    for leaf in trees.leaves(out[1]):
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(leaf)}")
    return out


def _require_tensors(out: Any, name: str) -> None:
    """Raise RuntimeError for a result that holds something else than tensors, or nothing."""
    leaves = trees.leaves(out)
    if not leaves or leaves == [None]:
        raise RuntimeError(f"{name}: Expected f to be a function that has non-empty output (got output = {leaves})")
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{name}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}"
            )


# ---- reverse mode -----------------------------------------------------------------------------------------------------


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns (gradient, value) of a scalar function; with has_aux (gradient, (value, aux))."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        connected, which = state.enabled, _numbers(argnums, len(args))
        with enable_grad(), transform():
            points, ends = _at_ends(args, which)
            out, aux = _with_aux(func(*points, **kwargs), has_aux, "grad_and_value(f)(*args)")
            _require_scalar(out)
            found = _gradients([out], ends, [None])
        asked = tuple(points[k] for k in which)
        grads = trees.rebuild(asked, _in_place_of_tensors(asked, found))
        grads, out, aux = _let_go((grads, out, aux), ends, connected)
        result = grads[0] if isinstance(argnums, int) else grads
        return (result, (out, aux)) if has_aux else (result, out)

    return wrapped


def _in_place_of_tensors(tree: Any, new: Sequence[Any]) -> list[Any]:
    """The leaves of a tree, the tensors among them replaced in order."""
    replaced = iter(new)
    return [next(replaced) if isinstance(leaf, Tensor) else leaf for leaf in trees.leaves(tree)]


def _require_scalar(out: Any) -> None:
    if not isinstance(out, Tensor):
        raise RuntimeError(
            f"grad_and_value(f)(*args): Expected f(*args) to return a single tensor, got {type(out).__name__}"
        )
    if out.dim():
        raise RuntimeError(
            f"grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with {out.dim()} dims. "
            "Maybe you wanted to use the vjp or jacrev APIs instead?"
        )


def _gradients(outs: Sequence[Tensor], ends: Sequence[Tensor], seeds: Sequence[Any]) -> list[Tensor]:
    """The gradients at the ends, recorded; zeros where the outputs do not depend on one."""
    pairs = [(o, s) for o, s in zip(outs, seeds) if o.requires_grad]
    if not pairs or not ends:
        return [wrap(np.zeros_like(e._data)) for e in ends]
    asked, given = zip(*pairs)
    found = _grad(asked, ends, given, retain_graph=True, create_graph=True, allow_unused=True)
    return [wrap(np.zeros_like(e._data)) if g is None else g for e, g in zip(ends, found)]


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar function; with has_aux (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        g, value = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return wrapped


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(func(*primals), the function from cotangents to a tuple of gradients), with has_aux also aux."""
    connected = state.enabled
    with enable_grad(), transform():
        points, ends = _at_ends(primals, range(len(primals)))
        out, aux = _with_aux(func(*points), has_aux, "vjp(f, *primals)")
    _require_tensors(out, "vjp(f, *primals)")
    outs = trees.tensors(out)

    def pull(*cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        if not trees.is_alike(given, out):
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function"
            )
        with enable_grad():
            found = _gradients(outs, ends, trees.tensors(given))
        grads = trees.rebuild(tuple(points), _in_place_of_tensors(tuple(points), found))
        return _let_go(grads, ends, state.enabled)

    value = _let_go(out, ends, connected)
    return (value, pull, _let_go(aux, ends, connected)) if has_aux else (value, pull)


# ---- forward mode -----------------------------------------------------------------------------------------------------


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(func(*primals), its derivative along the tangents), with has_aux also aux; by dual numbers."""
    if not isinstance(primals, tuple):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
        )
    if not trees.is_alike(primals, tangents):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same python structure."
        )
    if not trees.leaves(primals):
        raise RuntimeError("jvp(f, primals, tangents): Expected at least one Tensor to be passed in as primal")
    with dual_numbers() as level:
        _check_tangents(trees.leaves(primals), trees.leaves(tangents))
        with transform():
            points = trees.map_leaves(lambda x, d: with_tangent(alias(x), level, d), primals, tangents)
            out, aux = _with_aux(func(*points), has_aux, "jvp(f, primals, tangents)")
        _require_tensors(out, "jvp(f, primals, tangents)")
        strip = partial(
            trees.map_tensors, lambda x: with_tangent(x, level, None) if tangent(x, level) is not None else x
        )
        pushed = trees.map_tensors(lambda x: _tangent_or_zeros(x, level, strict), out)
        return (strip(out), pushed, strip(aux)) if has_aux else (strip(out), pushed)


def _check_tangents(primals: Sequence[Any], tangents: Sequence[Any]) -> None:
    for name, given in ("primals", primals), ("tangents", tangents):
        for x in given:
            if not isinstance(x, Tensor):
                raise RuntimeError(f"jvp(f, primals, tangents): Expected {name} to only contain Tensors, got {type(x)}")
    for x, d in zip(primals, tangents):
        if x._data.shape != d._data.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
                f"supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size {list(d.shape)}."
            )


def _tangent_or_zeros(x: Tensor, level: int, strict: bool) -> Tensor:
    d = tangent(x, level)
    if d is None and strict:
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed with "
            "strict=True."
        )
    return wrap(np.zeros_like(x._array())) if d is None else d


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(func(*primals), the function from tangents to the derivative along them), at these primals."""
    if not primals:
        raise ValueError("linearize expects at least one primal")
    out = func(*primals)

    def push(*tangents: Any) -> Any:
        if not trees.is_alike(tangents, primals):
            raise RuntimeError("Expected the tangents to have the same structure as the primals")
        for x, d in zip(trees.tensors(primals), trees.tensors(tangents)):
            if x._data.shape != d._data.shape or x._data.dtype != d._data.dtype:
                raise RuntimeError("Expected the tangents to have the shapes and dtypes of the primals")
        return jvp(func, primals, tangents)[1]

    return out, push


# ---- Jacobians --------------------------------------------------------------------------------------------------------


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:  # fmt: skip
    """A function that returns the Jacobian with respect to the arguments `argnums`: a row per output entry."""
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        which = _numbers(argnums, len(args))
        at = partial(_of_arguments, func, args, which, kwargs)
        value, pull, *aux = vjp(at, *(args[k] for k in which), has_aux=has_aux)
        outs = trees.tensors(value)
        asked = tuple(args[k] for k in which)
        rows = [_rows(outs, k, pull, value) for k in range(len(outs))]
        blocks = []
        for out, grads in zip(outs, rows):
            columns = [
                reshape(stack([trees.tensors(g)[j] for g in grads]), (*out.shape, *x.shape))
                if grads else wrap(np.zeros((*out.shape, *x.shape), out._data.dtype))
                for j, x in enumerate(trees.tensors(asked))
            ]  # fmt: skip
            block = trees.rebuild(asked, columns)
            blocks.append(block[0] if isinstance(argnums, int) else block)
        result = trees.rebuild(value, blocks)
        return (result, aux[0]) if has_aux else result

    return wrapped


def _of_arguments(func: Callable[..., Any], args: Sequence[Any], which: Sequence[int], kwargs: Any, *given: Any) -> Any:
    """`func` of some of its arguments, the others fixed."""
    points = list(args)
    for k, x in zip(which, given):
        points[k] = x
    return func(*points, **kwargs)


def _units(x: Tensor) -> list[Tensor]:
    """The unit vectors in the shape of `x`."""
    eye = np.eye(x._data.size, dtype=x._data.dtype)
    return [wrap(row.reshape(x._data.shape)) for row in eye]


def _rows(outs: Sequence[Tensor], k: int, pull: Callable[..., Any], value: Any) -> list[Any]:
    """The gradients of every entry of output k."""
    zeros = [wrap(np.zeros_like(o._array())) for o in outs]
    return [pull(trees.rebuild(value, [*zeros[:k], unit, *zeros[k + 1 :]])) for unit in _units(outs[k])]


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The same Jacobian as `jacrev`, by forward mode: a column per input entry."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        which = _numbers(argnums, len(args))
        at = partial(_of_arguments, func, args, which, kwargs)
        asked = tuple(args[k] for k in which)
        inputs = trees.tensors(asked)
        value: Any = None
        aux: Any = None
        columns: list[list[list[Tensor]]] = []  # per input, per entry of it, per output
        for j, x in enumerate(inputs):
            columns.append([])
            for unit in _units(x):
                seeds = [unit if k == j else wrap(np.zeros_like(y._array())) for k, y in enumerate(inputs)]
                value, pushed, *rest = jvp(at, asked, trees.rebuild(asked, seeds), has_aux=has_aux)
                aux = rest[0] if has_aux else None
                columns[-1].append(trees.tensors(pushed))
        if value is None:
            value, aux = _with_aux(at(*asked), has_aux, "jacfwd(f)(*args)")
        blocks = []
        for i, out in enumerate(trees.tensors(value)):
            block = [
                reshape(movedim(stack([c[i] for c in column]), 0, -1), (*out.shape, *x.shape))
                if column else wrap(np.zeros((*out.shape, *x.shape), out._data.dtype))
                for column, x in zip(columns, inputs)
            ]  # fmt: skip
            tree = trees.rebuild(asked, block)
            blocks.append(tree[0] if isinstance(argnums, int) else tree)
        result = trees.rebuild(value, blocks)
        return (result, aux) if has_aux else result

    return wrapped


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns the Hessian of a scalar function: forward over reverse."""
    return jacfwd(jacrev(func, argnums), argnums)


# ---- batches ----------------------------------------------------------------------------------------------------------


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: Any = None
) -> Callable[..., Any]:
    """`func` over a batch, row by row: the meaning of PyTorch's vmap, without its speed.

    randomness  "different": each row draws numbers of its own; "same": all rows draw the same; "error" does as "different"
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dims = _spread(in_dims, args, "in_dims")
        given = trees.leaves(args)
        sizes = {x.shape[d] for x, d in zip(given, dims) if d is not None}
        if not sizes:
            raise ValueError(
                f"vmap({_name(func)}, in_dims={in_dims}, ...)(<inputs>): got no mapped dimension; at least one is needed"
            )
        if len(sizes) != 1:
            raise ValueError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)} for "
                "the mapped dimension"
            )
        rows, drawn = [], default_generator.get_state()
        for k in range(sizes.pop()):
            if randomness == "same":
                default_generator.set_state(drawn)
            row = [x if d is None else _slice(x, d, k) for x, d in zip(given, dims)]
            of_row = trees.map_tensors(partial(_slice, dim=0, k=k), kwargs)
            rows.append(func(*trees.rebuild(args, row), **of_row))
        return _stacked(rows, out_dims)

    return wrapped


def _name(func: Any) -> str:
    return getattr(func, "__name__", repr(func))


def _slice(x: Tensor, dim: int, k: int) -> Tensor:
    return getitem(x, (slice(None),) * (dim % x._data.ndim) + (k,))


def _spread(dims: Any, tree: Any, name: str) -> list[Any]:
    """A dim per leaf of a tree, out of one for all, or of a tree that goes less deep."""
    if dims is None or isinstance(dims, int):
        return [dims if isinstance(leaf, Tensor) else None for leaf in trees.leaves(tree)]
    keys = list(tree) if isinstance(tree, Mapping) else range(len(tree))
    if isinstance(tree, Tensor) or len(dims) != len(tree):
        raise ValueError(f"vmap: {name} is not compatible with the structure of the inputs: {name}={dims}")
    return [d for k in keys for d in _spread(dims[k], tree[k], name)]


def _stacked(rows: Sequence[Any], out_dims: Any) -> Any:
    if not all(isinstance(leaf, Tensor) for leaf in trees.leaves(rows[0])):
        raise ValueError(f"vmap: expected the function to return Tensors, got {rows[0]}")
    dims = _spread(out_dims, rows[0], "out_dims") if not isinstance(rows[0], Tensor) else [_single(out_dims)]
    columns = zip(*map(trees.leaves, rows))
    return trees.rebuild(rows[0], [c[0] if d is None else stack(c, d) for c, d in zip(columns, dims)])


def _single(dim: Any) -> Any:
    return dim[0] if isinstance(dim, tuple) else dim


# ---- modules ----------------------------------------------------------------------------------------------------------


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of alike modules, those of one name stacked: what `vmap` over an ensemble takes."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters, buffers = [dict(m.named_parameters()) for m in models], [dict(m.named_buffers()) for m in models]
    return _stack_by_name(parameters), _stack_by_name(buffers)


def _stack_by_name(many: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Leaves, by name the tensors of all. Raises RuntimeError where some of a name require grad and others do not."""
    stacked = {}
    for name in many[0]:
        alike = [tensors[name] for tensors in many]
        if len({x.requires_grad for x in alike}) > 1:
            raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        with no_grad():
            stacked[name] = stack(alike)
        stacked[name].requires_grad_(alike[0].requires_grad)
    return stacked


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """`func` itself: in-place ops of this engine are recorded as what they are."""
    return func
