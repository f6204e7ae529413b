"""Tensors in dicts, lists, tuples and named tuples: taken out in one order, put back into the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .tensor import Tensor


def leaves(tree: Any) -> list[Any]:
    """What stands in a nest of containers, left to right; what is no container is a leaf."""
    return [leaf for child in _children(tree) for leaf in leaves(child)] if _is_container(tree) else [tree]


def tensors(tree: Any) -> list[Tensor]:
    """The tensors among the leaves."""
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


def rebuild(tree: Any, new: Iterable[Any]) -> Any:
    """A nest of the same form, its leaves replaced by `new`, in order."""
    return _rebuild(tree, iter(new))


def map_leaves(change: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`change` of every leaf, and of the leaves at the same place of the other trees."""
    return rebuild(tree, map(change, leaves(tree), *map(leaves, others)))


def map_tensors(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """`change` of every tensor; other leaves stay."""
    return map_leaves(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def is_alike(a: Any, b: Any) -> bool:
    """Have the two the same containers, with the same keys, in the same places?"""
    if not _is_container(a) or not _is_container(b):
        return not _is_container(a) and not _is_container(b)
    if isinstance(a, Mapping) != isinstance(b, Mapping) or len(a) != len(b):
        return False
    if isinstance(a, Mapping) and list(a) != list(b):
        return False
    return all(map(is_alike, _children(a), _children(b)))


def _is_container(tree: Any) -> bool:
    return type(tree) in (list, tuple) or isinstance(tree, Mapping) or _is_named_tuple(tree)


def _is_named_tuple(tree: Any) -> bool:
    return isinstance(tree, tuple) and hasattr(tree, "_fields")


def _children(tree: Any) -> Iterable[Any]:
    return tree.values() if isinstance(tree, Mapping) else tree


def _rebuild(tree: Any, new: Iterator[Any]) -> Any:
    if not _is_container(tree):
        return next(new)
    children = [_rebuild(child, new) for child in _children(tree)]
    if isinstance(tree, Mapping):
        return type(tree)(zip(tree, children))  # type: ignore[call-arg]
    return type(tree)(*children) if _is_named_tuple(tree) else type(tree)(children)
