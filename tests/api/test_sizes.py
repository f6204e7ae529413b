"""Other lengths of axes: which are asked, and which are no lengths of the function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import check
from gradverify.checker.variations import _some_of, other_lengths
from gradverify.core.outcome import Outcome

torch = pytest.importorskip("torch")


def custom(forward: Any, backward: Any) -> Any:
    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return forward(*args)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g, *ctx.saved_tensors)

    return Custom.apply


def drawn(*shape: int) -> Any:
    return torch.tensor(np.random.default_rng(len(shape)).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize(
    ("n", "wanted"),
    [(3, [2, 4, 6]), (4, [3, 5, 8]), (6, [5, 7, 8]), (8, [7, 9, 16]), (9, [8, 10, 18, 11]), (25, [24, 26, 50, 29])],
)
def test_lengths_are_less_more_a_tile_more_and_a_prime(n: int, wanted: list[int]) -> None:
    assert other_lengths(n) == wanted


def test_each_of_several_places_and_all_but_each() -> None:
    q, k, v = (0, 0), (1, 0), (2, 0)
    assert _some_of([q]) == []
    assert _some_of([q, k]) == [(q,), (k,)]
    assert _some_of([q, k, v]) == [(q,), (k,), (v,), (k, v), (q, v), (q, k)]


def _halves(x: Any) -> Any:
    n = x.shape[-1] // 2
    return torch.cat([x[..., n:].sin(), 2 * x[..., :n]], -1)


def _halves_back(g: Any, x: Any) -> Any:
    n = x.shape[-1] // 2
    return torch.cat([2 * g[..., n:], g[..., :n] * x[..., n:].cos()], -1)


def test_halves_are_asked_at_even_lengths_alone() -> None:
    verdict = check(custom(_halves, _halves_back), drawn(3, 8))
    assert verdict, verdict.text()
    assert any("cuts axes of length 8 into 2 equal parts, which 7 has not" in s for s in verdict.facts["skipped"])
    assert "axes of length 16 instead of 8" in verdict.facts["tried"]


def test_halves_that_are_wrong_at_another_even_length_fail() -> None:
    def spoilt(g: Any, x: Any) -> Any:
        return _halves_back(g, x) * (1.0 if x.shape[-1] == 8 else 2.0)

    verdict = check(custom(_halves, spoilt), drawn(3, 8))
    assert verdict.outcome is Outcome.FAIL
    assert "axes of length 16 instead of 8" in verdict.message


def _tiled(x: Any) -> Any:
    return torch.cat([x[i : i + 4] * x[i : i + 4].sum() for i in range(0, len(x), 4)])


def _tiled_back(tail: bool) -> Any:
    def backward(g: Any, x: Any) -> Any:
        parts = []
        for i in range(0, len(x), 4):
            h, y = g[i : i + 4], x[i : i + 4]
            parts.append(h * y.sum() + (h * y).sum() * (1 if tail or len(y) == 4 else 0))
        return torch.cat(parts)

    return backward


def test_a_tile_is_no_part_its_tail_counts() -> None:
    """A tile has one length, whatever that of the axis is: there are more of them in a longer one."""
    assert check(custom(_tiled, _tiled_back(True)), drawn(8))
    assert check(custom(_tiled, _tiled_back(False)), drawn(8)).outcome is Outcome.FAIL


def _windows(x: Any) -> Any:
    n = len(x) // 2
    return (x[: 2 * n].reshape(n, 2) ** 2).sum(-1)


def test_what_is_left_over_is_nobodys() -> None:
    def backward(g: Any, x: Any) -> Any:
        n = len(x) // 2
        rest = torch.full_like(x[2 * n :], torch.nan)
        return torch.cat([2 * x[: 2 * n] * g.repeat_interleave(2), rest])

    verdict = check(custom(_windows, backward), drawn(6))
    assert verdict, verdict.text()
    assert any("does not read" in s or "equal parts" in s for s in verdict.facts["skipped"])


def test_keys_vary_without_queries_of_the_same_number() -> None:
    def attend(q: Any, k: Any, v: Any) -> Any:
        return (q @ k.T).sin() @ v

    def backward(written: Any) -> Any:
        def rule(g: Any, q: Any, k: Any, v: Any) -> Any:
            s = q @ k.T
            d = (g @ v.T) * s.cos()
            return d @ k, written(d.T @ q, q), s.sin().T @ g

        return rule

    args = drawn(4, 3), drawn(4, 3) * 0.5, drawn(4, 2)
    args = tuple(a.detach().requires_grad_() for a in args)
    as_many_as_queries = lambda dk, q: dk * (torch.arange(len(dk)) < len(q))[:, None]
    assert check(custom(attend, backward(lambda dk, q: dk)), *args)
    verdict = check(custom(attend, backward(as_many_as_queries)), *args)
    assert verdict.outcome is Outcome.FAIL
    assert "axis 0 of array 1, axis 0 of array 2 of length 5 instead of 4" in verdict.message


def test_complex_values_are_asked_of_what_computes_complex_numbers() -> None:
    c = 1 + 2j

    def rule(conjugated: bool) -> Any:
        def backward(g: Any, x: Any) -> Any:
            d = g * ((c.conjugate() * (c * x).exp().conj()) if conjugated or not x.is_complex() else c * (c * x).exp())
            return d if x.is_complex() else d.real

        return backward

    forward = lambda x: (c * x).exp()
    assert "complex values" in check(custom(forward, rule(True)), drawn(3)).facts["tried"]
    assert "complex values" in check(custom(forward, rule(False)), drawn(3)).message
    for_reals = check(custom(forward, lambda g, x: (g * (c * (c * x).exp()).conj()).real), drawn(3))
    assert for_reals, for_reals.text()
    assert any("is one for real arguments" in s for s in for_reals.facts["skipped"])


class TestSegments:
    """Integers that number the segments of a batch: each has one run, at every size that is asked."""

    @staticmethod
    def suffix_within(v: Any, segment: Any) -> Any:
        """Sums from each entry to the end of its run: a run that comes once more further on is another one."""
        total = v.flip(0).cumsum(0).flip(0)
        last = torch.cat([segment[1:] != segment[:-1], torch.tensor([True])])
        places = torch.where(last, torch.arange(len(v)) + 1, len(v)).flip(0).cummin(0).values.flip(0)
        return total - torch.cat([total, total.new_zeros(1)])[places]

    def prefix_by_number(self) -> Any:
        """Sums over all entries with the same number. The backward pass takes it that they stand together."""
        same = lambda segment: (
            (segment[:, None] == segment[None, :]) & torch.ones(len(segment), len(segment)).tril().bool()
        )
        return custom(
            lambda x, s: same(s).to(x.dtype) @ x.exp(), lambda g, x, s: (self.suffix_within(g, s) * x.exp(), None)
        )

    @pytest.mark.parametrize(
        "segment", [[0, 0, 0, 1, 1, 2, 2, 2, 2], [7, 7, 3, 3, 3, 3, 5, 5, 9], [5, 5, 5, 5, 5, 4, 4, 4, 4]]
    )
    def test_runs_stay_runs(self, segment: list[Any]) -> None:
        verdict = check(self.prefix_by_number(), drawn(9), torch.tensor(segment), order=1)
        assert verdict.outcome is Outcome.PASS, verdict.text()
        assert any("length" in t for t in verdict.facts["tried"])

    def test_a_wrong_tail_of_the_last_run_is_found(self) -> None:
        def back(g: Any, x: Any, s: Any) -> Any:
            d = self.suffix_within(g, s) * x.exp()
            return d * (torch.arange(len(d)) < len(d) - len(d) % 3), None

        wrong = custom(lambda x, s: TestSegments.prefix_by_number(self)(x, s), back)
        with pytest.raises(AssertionError):
            check(wrong, drawn(9), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2]), order=1)

    def test_indices_and_labels_are_repeated_as_they_are(self) -> None:
        """Each is one of its own, or they come back: nothing says that they are runs."""
        from gradverify.checker.variations import _with_runs_of

        for given in ([0, 1, 2, 3], [0, 0, 1, 0], [4, 4, 4, 4]):
            x = np.array(given)
            longer = np.concatenate([x, x[:2]])
            assert np.array_equal(_with_runs_of(x, longer), longer)


def by_pairs(x: Any, at: Any) -> Any:
    return x[torch.arange(len(x)), at]


def by_flat_indices(x: Any, at: Any) -> Any:
    return x.reshape(-1)[torch.arange(len(x)) * x.shape[1] + at]


def by_triples(x: Any, at: Any) -> Any:
    """Over two axes that are taken together, beside one that is not."""
    return torch.stack([x, 2 * x], 2)[torch.arange(len(x)), at][:, 1] / 2


def part_of_a_cross_entropy(target: Any, pick: Any = None) -> Any:
    """The share of one process in the cross entropy of all: targets beyond its classes are others'."""

    def forward(x: Any) -> Any:
        x = x - x.max(1, keepdim=True).values
        here = target < x.shape[1]
        at = torch.where(here, target, 0)
        picked = pick(x, at) if pick else x.gather(1, at.unsqueeze(1)).squeeze(1)
        return x.exp().sum(1).log() - torch.where(here, picked, 0.0)

    def backward(g: Any, x: Any) -> Any:
        here = (target < x.shape[1]).to(x.dtype).unsqueeze(1)
        hot = torch.zeros_like(x).scatter(1, torch.where(target < x.shape[1], target, 0).unsqueeze(1), here)
        return g.unsqueeze(1) * (x.softmax(1) - hot)

    return custom(forward, backward)


@pytest.mark.parametrize("pick", [None, by_pairs, by_flat_indices, by_triples])
@pytest.mark.parametrize("target", [[1, 0, 3], [3, 3, 2], [0, 3, 0]])
def test_targets_keep_their_classes(target: list[int], pick: Any) -> None:
    v = check(part_of_a_cross_entropy(torch.tensor(target), pick), drawn(3, 4), order=1)
    assert v.outcome is Outcome.PASS, v.message


def test_targets_that_are_arguments_keep_their_classes() -> None:
    def f(x: Any, target: Any) -> Any:
        return part_of_a_cross_entropy(target)(x)

    v = check(f, drawn(3, 5), torch.tensor([4, 0, 1]), order=1)
    assert v.outcome is Outcome.PASS, v.message


def test_a_tail_of_what_holds_indices_is_found_at_longer_axes() -> None:
    index = torch.tensor([3, 0, 1, 2])

    def forward(x: Any) -> Any:
        return x[:, index] * 2 + x.sum(1, keepdim=True) * 1.0

    def backward(g: Any, x: Any) -> Any:
        dx = (g.sum(1, keepdim=True) * torch.ones_like(x)).index_add(1, index, 2 * g)
        if x.shape[1] % 4:
            dx[:, -1] = 0
        return dx

    v = check(custom(forward, backward), drawn(3, 4), order=1)
    assert v.outcome is Outcome.FAIL
