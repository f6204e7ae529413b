"""torch.lobpcg as the op that it converges to: some eigenpairs of a symmetric matrix.

Its forward pass is an iteration that stops at a residual, its rule is that of what it converges to. The trips that it
makes have another derivative than either: an eigenvector of theirs is right to the tolerance, its derivative to less.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from ...core.errors import Unsupported
from ...trace.decompositions import adjoint, eigen

LIMIT = "torch.lobpcg stops at a residual: the graph is what it converges to"


@contextlib.contextmanager
def recognised(xp: Any) -> Iterator[None]:
    """Record calls of torch.lobpcg in the block as eigenpairs, and note it.

    A generalised problem (B) is left to the record of its trips, as is what holds no input.
    """
    module = torch._lobpcg
    original = module._lobpcg

    @functools.wraps(original)
    def solve(*args: Any, **kwargs: Any) -> Any:
        a, b = args[0], args[2] if len(args) > 2 else kwargs.get("B")
        value = None if b is not None or a.layout is not torch.strided else xp.find(a)
        if value is None or value.why:
            return original(*args, **kwargs)
        with _disable_current_modes(), torch.no_grad(), xp.escapes.unseen():
            found = original(*args, **kwargs)
            tolerance = args[7] if len(args) > 7 else kwargs.get("tol")
            try:
                pairs = eigenpairs(xp, value, a, *found)
                xp.stops_at = max(xp.stops_at, precision(a, found[0], tolerance))
            except (Unsupported, np.linalg.LinAlgError) as e:
                pairs = tuple(xp.unusable(str(e)) for _ in found)
            for t, symbol in zip(found, pairs):
                xp.enter(t, symbol)
            xp.note(LIMIT)
        return found

    module._lobpcg = solve
    try:
        yield
    finally:
        module._lobpcg = original


def eigenpairs(xp: Any, value: Any, a: torch.Tensor, values: torch.Tensor, vectors: torch.Tensor) -> tuple[Any, Any]:
    """The eigenvalues (..., k) and eigenvectors (..., n, k) that were found, as functions of the matrix (..., n, n).

    Raises Unsupported where the vectors that were found tell two of the matrix's eigenvectors apart by less than half.
    """
    matrix, found = (np.asarray(t.detach().cpu().double()) for t in (a, vectors))
    _, own = np.linalg.eigh((matrix + np.swapaxes(matrix, -1, -2)) / 2)
    overlap = np.swapaxes(own, -1, -2) @ found
    nearest = np.abs(overlap).argmax(axis=-2)  # (..., k)
    if not (np.abs(overlap).max(axis=-2) ** 2 > 0.5).all():
        raise Unsupported("lobpcg has not come near the eigenvectors")
    sign = np.sign(np.take_along_axis(overlap, nearest[..., None, :], axis=-2))
    column = np.arange(own.shape[-1])
    flip = np.where(column[:, None] == nearest[..., None, :], sign, 0.0).sum(axis=-1)
    own = own * np.where(flip == 0, 1.0, flip)[..., None, :]
    every, of = eigen(xp, (value + adjoint(xp, value)) * 0.5, own)
    places = np.arange(np.prod(every.shape, dtype=int)).reshape(every.shape)
    picked = np.take_along_axis(places, nearest, axis=-1)
    entries = np.arange(np.prod(of.shape, dtype=int)).reshape(of.shape)
    columns = np.take_along_axis(entries, np.broadcast_to(nearest[..., None, :], found.shape), axis=-1)
    return xp.picked(every, picked), xp.picked(of, columns)


ROUNDS = 8.0
"""The rule has every vector that was found up to four times in a product, and its derivative twice as often: to first order
it is off by so many times the angle of a vector, of its norm, which is n of the largest entry at most."""


def precision(a: torch.Tensor, values: torch.Tensor, tolerance: float | None) -> float:
    """How far the gradient may be from that of the eigenpairs, as a share of its largest entry.

    A trip ends at a residual of `tolerance` (‖A‖ + |λ|), so that a vector is off by the angle of that over the distance to
    the nearest other eigenvalue (Davis & Kahan, "The rotation of eigenvectors by a perturbation III", SIAM J. Numer. Anal. 7
    (1970)).
    """
    if tolerance is None:
        tolerance = float(torch.finfo(a.dtype).eps) ** 0.5
    matrix = np.asarray(a.detach().cpu().double())
    every = np.linalg.eigvalsh((matrix + np.swapaxes(matrix, -1, -2)) / 2)
    n = matrix.shape[-1]
    apart = np.sort(np.abs(np.asarray(values.detach().cpu().double())[..., :, None] - every[..., None, :]), axis=-1)
    residual = tolerance * 2 * np.abs(every).max(axis=-1)
    with np.errstate(divide="ignore"):
        angle = residual[..., None] / apart[..., 1] if n > 1 else np.zeros(1)
    return float(ROUNDS * n * np.max(angle, initial=0.0))
