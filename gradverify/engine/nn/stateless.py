"""`torch.func.functional_call`: a module run with other tensors in place of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..tensor import Tensor
from .module import Module


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with the named tensors; the module itself is left as it was.

    Raises ValueError for a name in two of the dicts; RuntimeError, where `strict`, for names missing or unknown.
    """
    given: dict[str, Tensor] = {}
    dicts = (
        [parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, Mapping) else parameter_and_buffer_dicts
    )
    for part in dicts:
        if twice := given.keys() & part.keys():
            name = sorted(twice)[0]
            raise ValueError(f"{name} appears in multiple dictionaries; behavior of functional call is ambiguous")
        given |= part
    places = _places(module)
    if strict:
        _check_names(set(given), set(places))
    if tie_weights:
        given = _tied(given, places)
    with _replaced(places, given):
        positional = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*positional, **(kwargs or {}))


Place = tuple[dict[str, Any], str]


def _places(module: Module) -> dict[str, Place]:
    """Name -> (table, key) of all parameters and buffers, tied ones under each of their names."""
    found = {}
    for at, owner in module.named_modules():
        for table in (owner._parameters, owner._buffers):
            for name, value in table.items():
                if value is not None:
                    found[f"{at}.{name}" if at else name] = (table, name)
    return found


def _check_names(given: set[str], known: set[str]) -> None:
    missing, unexpected = sorted(known - given), sorted(given - known)
    if missing or unexpected:
        raise RuntimeError(f"Error(s) in functional_call: missing key(s): {missing}, unexpected key(s): {unexpected}")


def _tied(given: dict[str, Tensor], places: Mapping[str, Place]) -> dict[str, Tensor]:
    """The given tensors, also under the other names of the tensors that they replace."""
    of = {name: id(table[key]) for name, (table, key) in places.items()}
    new = {of[name]: tensor for name, tensor in given.items() if name in of}
    return {name: new[of[name]] for name in places if of[name] in new} | given


@contextmanager
def _replaced(places: Mapping[str, Place], given: Mapping[str, Tensor]) -> Iterator[None]:
    before = {name: places[name][0][places[name][1]] for name in given if name in places}
    try:
        for name in before:
            table, key = places[name]
            table[key] = given[name]
        yield
    finally:
        for name, value in before.items():
            table, key = places[name]
            table[key] = value
