"""Images: each declaration is sound, and computes what SciPy, or a loop that reads like the definition, computes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from gradverify.core.errors import ShapeError
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.testing import check_op
from gradverify.testing.images import draw


@pytest.mark.parametrize("spec", FAMILIES["neural"], ids=lambda s: s.name)
def test_declaration_is_sound(spec: Any) -> None:
    check_op(spec, samples=8, draw=draw(spec.name))


def run(name: str, *args: np.ndarray, **params: Any) -> np.ndarray:
    return OPS[name].define(NUMPY, *args, **params)


def test_conv2d_is_scipys_correlation() -> None:
    from scipy.signal import correlate2d  # a second to import

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 7, 6)), rng.standard_normal((4, 3, 3, 2))
    want = np.stack([
        np.stack([sum(correlate2d(np.pad(x[n, c], ((1, 1), (2, 2))), w[o, c], "valid") for c in range(3)) for o in range(4)])
        for n in range(2)
    ])[:, :, ::2, ::3]  # fmt: skip
    got = run("conv2d", x, w, stride=(2, 3), padding=(1, 2))
    # 18 products are summed in another order: 18 roundings of terms that are at most about 20
    np.testing.assert_allclose(got, want, rtol=0, atol=18 * 20 * np.finfo(float).eps)


def windows(x: np.ndarray, kernel: int, stride: int) -> Any:
    n = (x.shape[-1] - kernel) // stride + 1
    for i, j in itertools.product(range((x.shape[-2] - kernel) // stride + 1), range(n)):
        yield (i, j), x[..., i * stride : i * stride + kernel, j * stride : j * stride + kernel]


def test_pooling_is_a_reduction_of_every_window() -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 7, 7))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    largest = run("max_pool2d", x, kernel=(3, 3), stride=(2, 2), padding=(1, 1))
    for (i, j), part in windows(padded, 3, 2):
        np.testing.assert_array_equal(largest[..., i, j], part.max((-1, -2)))
    mean = run("avg_pool2d", x, kernel=(2, 2), stride=(2, 2))
    for (i, j), part in windows(x, 2, 2):
        np.testing.assert_allclose(mean[..., i, j], part.mean((-1, -2)), rtol=0, atol=8 * np.finfo(float).eps)


def test_the_first_of_tied_entries_gets_the_cotangent() -> None:
    x, g = np.ones((1, 1, 2, 2)), np.full((1, 1, 1, 1), 3.0)
    spec = OPS["max_pool2d"]
    got = spec.cotangent(NUMPY, 0, g, g, (x,), {"kernel": (2, 2), "stride": (2, 2)})
    np.testing.assert_array_equal(got[0, 0], [[3.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "shapes", "params", "message"),
    [
        ("conv2d", [(1, 2, 4, 4), (1, 3, 2, 2)], {}, "images and weights"),
        ("conv2d", [(1, 1, 2, 2), (1, 1, 3, 3)], {}, "smaller than the window"),
        ("max_pool2d", [(1, 1, 4, 4)], {"kernel": (2, 2), "stride": (1, 1), "padding": (2, 2)}, "more than half"),
        ("im2col", [(4, 4)], {"kernel": (2, 2)}, "not that of images"),
        ("im2col", [(1, 1, 4, 4)], {"kernel": (2, 2), "stride": (0, 1)}, "at least 1"),
        ("batch_norm", [(1, 3), (3,), (3,)], {}, "more than one value per channel"),
        ("batch_norm", [(2, 3), (2,), (3,)], {}, "one per channel"),
    ],
)
def test_wrong_shapes_are_refused(name: str, shapes: Any, params: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        OPS[name].shape(*shapes, **params)
