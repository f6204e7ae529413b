"""`namespaces.layout`: copies that lie in memory as the original does."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.namespaces.layout import copy_layout, core, laid_out, strided_indices

X = np.arange(24.0).reshape(2, 3, 4)
RECORDS = np.zeros(3, dtype=[("a", "i2"), ("b", "f8")])

KEPT = {
    "contiguous": X,
    "column-major": np.asfortranarray(X),
    "transposed": X.transpose(2, 0, 1),
    "with gaps": X[:, ::2, 1:3],
    "backwards": X[::-1, :, ::-2],
    "expanded": np.broadcast_to(X[:, :1], (2, 5, 4)),
    "expanded at both ends": np.broadcast_to(X[0, :, 0], (2, 3)),
    "expanded from one entry": np.broadcast_to(7.0, (2, 3)),
}


@pytest.mark.parametrize("x", KEPT.values(), ids=KEPT)
def test_a_copy_lies_as_the_original_and_elsewhere(x: np.ndarray) -> None:
    new = copy_layout(x)
    assert new.strides == x.strides
    assert not np.shares_memory(new, x)
    np.testing.assert_array_equal(new, x)
    was = np.array(x)
    if new.flags.writeable:
        new += 1
        np.testing.assert_array_equal(x, was)
        np.testing.assert_array_equal(new, was + 1)
    else:
        assert 0 in x.strides


@pytest.mark.parametrize(
    "x", [np.zeros((10_000, 100))[:, 0], RECORDS["b"], np.zeros((0, 3))[:, ::2], np.float64(3.0)[...]]
)
def test_what_has_no_memory_of_its_own_size_is_copied_plainly(x: np.ndarray) -> None:
    new = copy_layout(x)
    assert new.flags.c_contiguous
    assert new.flags.owndata
    np.testing.assert_array_equal(new, x)


def test_gaps_are_not_copied() -> None:
    x = X[:, :, ::2]
    whole = copy_layout(x).base
    assert whole is not None
    assert set(whole.ravel()) == set(x.ravel())  # the gaps are zeros, and so is an entry


def test_the_core_has_one_entry_of_an_expanded_axis() -> None:
    x = np.broadcast_to(X[:, :1], (2, 5, 4))
    assert core(x).shape == (2, 1, 4)
    assert np.shares_memory(core(x), X)
    assert core(X) is not None
    assert core(X).shape == X.shape
    assert core(np.broadcast_to(1.0, (1, 3))).shape == (1, 1)


@pytest.mark.parametrize(("shape", "strides"), [((2, 3), (3, 1)), ((2, 3), (1, 2)), ((2, 3), (7, 2)), ((2, 3), (0, 1))])
def test_laid_out_and_spots(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    value = np.arange(1.0, 7.0).reshape(shape) if strides[0] else np.broadcast_to([1.0, 2.0, 3.0], shape)
    found = laid_out(value, strides)
    np.testing.assert_array_equal(found, value)
    assert found.strides == tuple(8 * s for s in strides)
    memory = np.arange(100)
    there = np.lib.stride_tricks.as_strided(memory[5:], shape, [8 * s for s in strides])
    np.testing.assert_array_equal(strided_indices(shape, strides, 5), there)


def test_spots_backwards_and_of_nothing() -> None:
    np.testing.assert_array_equal(strided_indices((3,), (-2,), 4), [4, 2, 0])
    assert strided_indices((0, 3), (3, 1)).shape == (0, 3)
    assert strided_indices((), (), 6) == 6


def test_a_negative_stride_is_not_laid_out() -> None:
    assert laid_out(X, (12, 4, -1)) is X
