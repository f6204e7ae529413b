"""The laws, a module per family. Importing this package registers them."""

from __future__ import annotations

from . import (
    accumulation,
    custom,
    cuts,
    flags,
    freeing,
    grads,
    hooks,
    inplace,
    linear,
    memory,
    programs,
    second,
    training,
)

FAMILIES = tuple(
    m.__name__.rpartition(".")[2]
    for m in (
        accumulation,
        flags,
        cuts,
        freeing,
        grads,
        second,
        hooks,
        inplace,
        custom,
        linear,
        training,
        programs,
        memory,
    )
)
