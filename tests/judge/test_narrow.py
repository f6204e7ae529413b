"""A loss of digits by a narrow step is named as that step, by an experiment; where another thing is true nothing is said."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from gradverify import FailKind, Outcome, Verdict
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")
HALF = torch.bfloat16


def drawn(*shape: int, dtype: Any = HALF, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def accumulated(rows: Any, dtype: Any) -> Any:
    total = torch.zeros(rows.shape[1:], dtype=dtype)
    for row in rows:
        total = total + row.to(dtype)
    return total


def scaled(*, sums: Callable[[Any], Any] = lambda t: t.sum(0), keep: Any = torch.float32) -> Any:
    """x·w by rows; `sums` adds up the rows of dw, `keep` is the dtype of a root that dx is made with."""

    def back(g: Any, x: Any, w: Any) -> Any:
        g, wide = g.float(), w.float()
        root = wide.abs().sqrt().to(keep)
        return (g * wide.sign() * root.float() ** 2).to(x.dtype), sums(g * x.float()).to(w.dtype)

    return custom(lambda x, w: (x.float() * w.float()).to(x.dtype), back)


def named(verdict: Verdict) -> Any:
    assert verdict.kind is FailKind.PRECISION, verdict.text()
    assert "narrow" in verdict.facts, verdict.text()
    return verdict.facts["narrow"]


def line_of(fn: Any, text: str) -> str:
    source, first = inspect.getsourcelines(fn)
    return f"test_narrow.py:{first + next(k for k, line in enumerate(source) if text in line)}"


def test_a_narrow_accumulator() -> None:
    verdict = judge(scaled(sums=lambda t: accumulated(t, HALF)), drawn(256, 3), drawn(3, seed=1))
    found = named(verdict)
    assert found["terms"] == 256
    assert found["dtype"] == "bfloat16"
    assert found["wide"] == "float32"
    assert "a sum of 256 terms is accumulated in bfloat16 at " in found["text"]
    assert line_of(accumulated, "total + row") in verdict.message
    assert found["left"] <= 1 < found["ulps"]


def test_an_accumulator_in_memory() -> None:
    """Adding 1024 numbers of one sign, one by one into bfloat16: what is 256 does not grow by less than 1."""
    where = torch.zeros(1024, dtype=torch.int64)
    sums = lambda t: torch.zeros(1, 1, dtype=HALF).index_put((where,), t.to(HALF), accumulate=True)[0]
    x = (drawn(1024, 1).detach().abs() / 8 + 0.5).requires_grad_()
    found = named(judge(scaled(sums=sums), x, drawn(1, seed=1), cotangent=torch.ones(1024, 1).to(HALF)))
    assert "index_add" in found["text"]
    assert found["terms"] == 1024


def test_an_intermediate_that_is_rounded_before_it_is_used() -> None:
    x, w = drawn(64, 3, dtype=torch.float32), drawn(3, seed=1, dtype=torch.float32)
    found = named(judge(scaled(keep=HALF), x, w))
    assert "the result of sqrt (shape [3]) is rounded to bfloat16 before it is used at " in found["text"]
    assert found["terms"] == 0


def test_a_state_that_is_kept_narrow() -> None:
    def running(x: Any) -> Any:
        h, found = torch.zeros(x.shape[1:], dtype=x.dtype), []
        for row in x:
            h = 0.99 * h + row
            found.append(h)
        return torch.stack(found)

    def back(g: Any, x: Any) -> Any:
        d, found = torch.zeros(x.shape[1:], dtype=torch.float32), []
        for row in g.float().flip(0):
            d = (0.99 * d + row).to(HALF).float()
            found.append(d)
        return torch.stack(found[::-1]).to(x.dtype)

    found = named(judge(custom(running, back), drawn(48, 2, dtype=torch.float32)))
    assert "a state is kept in bfloat16 over 48 steps" in found["text"]
    assert found["terms"] == 48


def test_of_two_narrow_steps_the_one_that_counts() -> None:
    """The root is rounded as well, in an array that is judged by its own, coarser dtype."""
    verdict = judge(scaled(sums=lambda t: accumulated(t, HALF), keep=torch.float16), drawn(256, 3), drawn(3, seed=1))
    assert "accumulated in bfloat16" in named(verdict)["text"]
    assert "sqrt" not in named(verdict)["text"]


def test_several_steps_that_count_together() -> None:
    def back(g: Any, x: Any) -> Any:
        s = torch.sin(x).to(HALF)
        c = torch.cos(x).to(HALF)
        return g * (c.to(x.dtype) + s.to(x.dtype))

    both = custom(lambda x: torch.sin(x) - torch.cos(x), back)
    found = named(judge(both, torch.linspace(0.3, 1.2, 5, requires_grad=True)))
    assert "the result of sin" in found["text"]
    assert "the result of cos" in found["text"]


@pytest.mark.parametrize("wide", [torch.float32, torch.float64])
def test_silent_of_right_ones(wide: Any) -> None:
    verdict = judge(scaled(sums=lambda t: accumulated(t, wide), keep=wide), drawn(256, 3), drawn(3, seed=1))
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_silent_where_digits_cancel() -> None:
    """1 - tanh² loses its digits in any dtype: no step is narrower than the rest."""
    x = torch.full((3,), 7.0, requires_grad=True)
    verdict = judge(custom(torch.tanh, lambda g, x: g * (1 - torch.tanh(x) ** 2)), x)
    assert verdict.kind is FailKind.PRECISION, verdict.text()
    assert "narrow" not in verdict.facts


def test_silent_where_the_formula_is_wrong() -> None:
    sums = lambda t: accumulated(t, HALF) * 1.5
    verdict = judge(scaled(sums=sums), drawn(64, 3), drawn(3, seed=1))
    assert verdict.kind is FailKind.WRONG, verdict.text()
    assert "narrow" not in verdict.facts


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    scale = jax.custom_vjp(lambda x, w: (x.astype(jnp.float32) * w.astype(jnp.float32)).astype(x.dtype))

    def back(saved: Any, g: Any) -> Any:
        x, w = (a.astype(jnp.float32) for a in saved)
        total = jnp.zeros(w.shape, jnp.bfloat16)
        for row in g.astype(jnp.float32) * x:
            total = total + row.astype(jnp.bfloat16)
        return (g.astype(jnp.float32) * w).astype(saved[0].dtype), total

    scale.defvjp(lambda x, w: (scale(x, w), (x, w)), back)
    x, w = (jax.random.normal(jax.random.key(k), s).astype(jnp.bfloat16) for k, s in ((0, (128, 3)), (1, (3,))))
    assert named(judge(scale, x, w))["terms"] == 128  # on no line: JAX lays all of a custom rule to its call


class TestSumsWithinTheBudget:
    """What eight roundings of the result excuse, and a wider accumulator would not need."""

    @staticmethod
    def in_chunks(rows: Any) -> Any:
        total = torch.zeros(rows.shape[1:], dtype=HALF)
        for part in rows.split(4):
            total += part.sum(0).to(HALF)
        return total

    @staticmethod
    def turned_over(rows: Any) -> Any:
        total = torch.zeros(1, rows.shape[1], dtype=HALF)
        for part in rows.split(8):
            total = (part.sum(0).to(HALF).flip(0) + total.flip(1)).flip(1)
        return total[0]

    @staticmethod
    def kept_by_casts(rows: Any) -> Any:
        total = torch.zeros(rows.shape[1:])
        for part in rows.split(4):
            total = (total + part.sum(0)).to(HALF).float()
        return total

    @staticmethod
    def by_halves(rows: Any) -> Any:
        """Log2 of 64 additions: a tree loses little, and its lines are no loop over the rows."""
        while len(rows) > 1:
            rows = rows[::2] + rows[1::2]
        return rows[0]

    @pytest.mark.parametrize("name", ["in_chunks", "turned_over", "kept_by_casts"])
    def test_a_loop(self, name: str) -> None:
        verdict = judge(scaled(sums=getattr(self, name)), drawn(64, 3), drawn(3, seed=1))
        assert verdict.outcome is Outcome.WEAK or verdict.kind is FailKind.PRECISION, verdict.text()
        assert "digits" in verdict.message
        assert "of 16 terms" in verdict.message or "over 16 steps" in verdict.message
        assert verdict.facts["narrow"]["left"] <= 1 < verdict.facts["narrow"]["ulps"]

    def test_one_that_the_budget_excuses(self) -> None:
        verdict = judge(scaled(sums=self.in_chunks), drawn(64, 3), drawn(3, seed=1))
        assert verdict.outcome is Outcome.WEAK, verdict.text()
        assert "digits are lost that need not be lost" in verdict.message
        assert all(c.failing == 0 for c in verdict.comparisons)

    @pytest.mark.parametrize("dtype", [HALF, torch.float16])
    def test_wide_ones(self, dtype: Any) -> None:
        wide = lambda t: accumulated(t, torch.float32)
        for sums in (wide, self.by_halves, lambda t: t.sum(0)):
            verdict = judge(scaled(sums=sums), drawn(64, 3, dtype=dtype), drawn(3, seed=1, dtype=dtype))
            assert verdict.outcome is Outcome.PASS, verdict.text()

    def test_three_branches_that_are_added_up_as_they_come(self) -> None:
        def back(g: Any, x: Any) -> Any:
            wide = x.float()
            parts = [(g.float() * f(wide)).to(HALF) for f in (torch.cos, torch.exp, lambda x: 2 * x)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            return total

        f = custom(lambda x: (x.float().sin() + x.float().exp() + x.float() ** 2).to(HALF), back)
        assert judge(f, drawn(16)).outcome is Outcome.PASS

    def test_a_state_that_the_definition_keeps_narrow_too(self) -> None:
        def run(x: Any) -> Any:
            state = torch.zeros(3, dtype=HALF)
            for row in x:
                state = state * 0.5 + row
            return state

        def back(g: Any, x: Any) -> Any:
            rows = []
            for _ in x:
                rows.append(g)
                g = g * 0.5
            return torch.stack(rows[::-1])

        assert judge(custom(run, back), drawn(12, 3)).outcome is Outcome.PASS
        assert judge(run, drawn(12, 3)).outcome is Outcome.PASS


class TestIntermediatesWithinTheBudget:
    """Intermediates of a float32 pass that are rounded to 16 bits; the budget of the result excuses the error."""

    @staticmethod
    def gated(keep: Callable[[Any], Any]) -> Any:
        """x·σ(x)·w in float32; `keep` stores silu for the gradient of w."""

        def back(g: Any, x: Any, w: Any) -> Any:
            g, x, w = g.float(), x.float(), w.float()
            s = torch.sigmoid(x)
            silu = keep(x * s)
            return (g * w * s * (1 + x * (1 - s))).to(HALF), (g * silu).to(HALF)

        return custom(lambda x, w: (x.float() * torch.sigmoid(x.float()) * w.float()).to(HALF), back)

    def test_one_that_is_rounded_once(self) -> None:
        stored = lambda t: t.to(HALF).float()
        verdict = judge(self.gated(stored), drawn(64), drawn(64, seed=1))
        assert verdict.outcome is Outcome.WEAK, verdict.text()
        assert "digits are lost that need not be lost" in verdict.message
        found = verdict.facts["narrow"]
        assert found["of"].endswith("[1]")
        assert "the result of multiply (shape [64]) is rounded to bfloat16 before it is used at " in found["text"]
        assert line_of(TestIntermediatesWithinTheBudget.test_one_that_is_rounded_once, "stored =") in found["text"]
        assert found["left"] <= 1 < found["ulps"] < 2  # two roundings of half an ulp to an ulp each
        assert all(c.failing == 0 for c in verdict.comparisons)

    @pytest.mark.parametrize(
        "keep",
        [
            lambda t: (t.to(HALF) * 0.75).float() / 0.75,  # computed on, in 16 bits
            lambda t: t.flip(0).to(HALF).flip(0).float(),
            lambda t: t.to(torch.float64).to(HALF).to(torch.float64).float(),
        ],
    )
    def test_other_ways_to_round_it(self, keep: Callable[[Any], Any]) -> None:
        verdict = judge(self.gated(keep), drawn(64), drawn(64, seed=1))
        assert verdict.outcome is Outcome.WEAK, verdict.text()
        assert verdict.facts["narrow"]["dtype"] == "bfloat16"

    def test_a_gradient_of_few_entries_shows_it_for_another_cotangent(self) -> None:
        """One entry, of which the case's own cotangent leaves little to see."""
        weak = [
            judge(self.gated(lambda t: t.to(HALF).float()), drawn(1, seed=k), drawn(1, seed=k + 50)) for k in range(8)
        ]
        drawn_ones = [v.facts["narrow"]["drawn"] for v in weak if v.outcome is Outcome.WEAK]
        assert any(drawn_ones), drawn_ones
        assert any("cotangent" in v.message and "that were drawn" in v.message for v in weak)

    @pytest.mark.parametrize("keep", [lambda t: t, lambda t: t.double().float()])
    def test_wide_ones(self, keep: Callable[[Any], Any]) -> None:
        assert judge(self.gated(keep), drawn(64), drawn(64, seed=1)).outcome is Outcome.PASS

    def test_what_the_definition_rounds_as_well(self) -> None:
        """silu is rounded before the product, so that autograd rounds it, and the cotangent g·w, as well."""

        def run(x: Any, w: Any) -> Any:
            return (x.float() * torch.sigmoid(x.float())).to(HALF) * w

        def back(g: Any, x: Any, w: Any) -> Any:
            wide = x.float()
            s = torch.sigmoid(wide)
            return ((g * w).float() * s * (1 + wide * (1 - s))).to(HALF), g * (wide * s).to(HALF)

        assert judge(custom(run, back), drawn(64), drawn(64, seed=1)).outcome is Outcome.PASS

    def test_what_is_computed_in_16_bits_throughout(self) -> None:
        def back(g: Any, x: Any) -> Any:
            s = torch.sigmoid(x)
            return g * s * (1 + x * (1 - s))

        assert judge(custom(lambda x: x * torch.sigmoid(x), back), drawn(64)).outcome is Outcome.PASS

    def test_a_part_that_the_definition_computes_in_16_bits(self) -> None:
        """tanh in 16 bits, its derivative op by op in 16 bits; exp beside it in float32."""

        def run(x: Any) -> Any:
            return (torch.tanh(x).float().exp() * x.float()).to(HALF)

        def back(g: Any, x: Any) -> Any:
            y = torch.tanh(x)
            e = y.float().exp()
            inner = (g.float() * e * x.float()).to(HALF)  # the cotangent of y
            return ((g.float() * e).to(HALF).float() + (inner * (1 - y * y)).float()).to(HALF)

        assert judge(custom(run, back), drawn(64)).outcome is Outcome.PASS

    def test_operands_of_a_product_of_matrices_in_16_bits(self) -> None:
        """The hardware multiplies matrices of 16 bits: ds.to(q.dtype) @ k, as every fused attention has it."""

        def run(q: Any, k: Any) -> Any:
            return torch.tanh(q.float() @ k.float().T).to(HALF)

        def back(g: Any, q: Any, k: Any) -> Any:
            t = torch.tanh(q.float() @ k.float().T)
            ds = (g.float() * (1 - t * t)).to(HALF).float()
            return (ds @ k.float()).to(HALF), (ds.T @ q.float()).to(HALF)

        q, k = drawn(6, 4), drawn(5, 4, seed=1)
        verdict = judge(custom(run, back), q, k)
        assert verdict.outcome is Outcome.WEAK, verdict.text()
        assert verdict.facts["narrow"]["excuse"] == "for a product of 16-bit matrices"
        # Where the scores themselves are in 16 bits the definition rounds ds as well, and the budget has it.
        in_half = lambda q, k: torch.tanh((q @ k.T).float()).to(HALF)
        assert judge(custom(in_half, back), q, k).outcome is Outcome.PASS

    def test_of_its_16_bit_output_it_is_weak_and_said(self) -> None:
        """x/|x| of rows: what is lost is what the output's rounding costs, which the caller has as well."""

        def run(x: Any) -> Any:
            wide = x.float()
            return (wide * torch.rsqrt((wide * wide).sum(-1, keepdim=True))).to(HALF)

        class Normalised(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                wide = x.float()
                r = torch.rsqrt((wide * wide).sum(-1, keepdim=True))
                y = (wide * r).to(HALF)
                ctx.save_for_backward(y, r)
                return y

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                y, r = ctx.saved_tensors
                g, y = g.float(), y.float()
                return (r * (g - y * (g * y).sum(-1, keepdim=True))).to(HALF)

        verdict = judge(lambda x: Normalised.apply(x), drawn(64, 8))
        assert verdict.outcome is Outcome.WEAK, verdict.text()
        assert verdict.facts["narrow"]["excuse"] == "as the definition rounds it"
        assert "as the definition rounds it" in verdict.message

        def back(g: Any, x: Any) -> Any:
            g, wide = g.float(), x.float()
            r = torch.rsqrt((wide * wide).sum(-1, keepdim=True)).to(HALF).float()
            y = wide * r
            return (r * (g - y * (g * y).sum(-1, keepdim=True))).to(HALF)

        own = judge(custom(run, back), drawn(64, 8))
        assert own.kind is FailKind.PRECISION, own.text()
        assert not own.facts["narrow"]["excuse"]

    def test_jax(self) -> None:
        jax = pytest.importorskip("jax")
        jnp = jax.numpy
        wide = lambda a: a.astype(jnp.float32)
        gate = jax.custom_vjp(lambda x, w: (wide(x) * jax.nn.sigmoid(wide(x)) * wide(w)).astype(x.dtype))

        def rule(narrow: bool) -> Any:
            def back(saved: Any, g: Any) -> Any:
                x, w, g = map(wide, (*saved, g))
                s = jax.nn.sigmoid(x)
                silu = wide((x * s).astype(jnp.bfloat16)) if narrow else x * s
                return (g * w * s * (1 + x * (1 - s))).astype(jnp.bfloat16), (g * silu).astype(jnp.bfloat16)

            return back

        x, w = (jax.random.normal(jax.random.key(k), (64,)).astype(jnp.bfloat16) for k in (0, 1))
        for narrow, outcome in ((True, Outcome.WEAK), (False, Outcome.PASS)):
            gate.defvjp(lambda x, w: (gate(x, w), (x, w)), rule(narrow))
            verdict = judge(gate, x, w)
            assert verdict.outcome is outcome, verdict.text()


class TestGradientsOfInputsThatAreUsedAgain:
    """A gradient that is rounded when it is returned excuses nothing that is computed from the rounded one."""

    @staticmethod
    def weight_norm(keep: Callable[[Any], Any]) -> Any:
        def back(g: Any, v: Any, m: Any) -> Any:
            g, v, scale = g.float(), v.float(), m.float()[:, None]
            norm = v.norm(dim=1, keepdim=True)
            along = keep((g * v / norm).sum(1, keepdim=True))
            return (scale / norm * (g - v / norm * along)).to(m.dtype), along[:, 0].to(m.dtype)

        return custom(
            lambda v, m: (m.float()[:, None] * v.float() / v.float().norm(dim=1, keepdim=True)).to(v.dtype), back
        )

    @staticmethod
    def sphere(keep: Callable[[Any], Any]) -> Any:
        """s·x/|x|, whose gradient of s is the product with the direction."""

        def back(g: Any, x: Any, s: Any) -> Any:
            g, x, scale = g.float(), x.float(), s.float()
            norm = x.norm()
            ds = keep((g * x / norm).sum())
            return (scale / norm * (g - x / norm * ds)).to(s.dtype), ds.to(s.dtype)

        return custom(lambda x, s: (s.float() * x.float() / x.float().norm()).to(x.dtype), back)

    @staticmethod
    def reflection(keep: Callable[[Any], Any]) -> Any:
        """x - a·w(w·x)/(w·w), with a weight a."""

        def run(w: Any, x: Any, a: Any) -> Any:
            w, x = w.float(), x.float()
            return (x - a.float() * w * (w * x).sum() / (w * w).sum()).to(a.dtype)

        def back(g: Any, w: Any, x: Any, a: Any) -> Any:
            dtype = a.dtype
            g, w, x, a = g.float(), w.float(), x.float(), a.float()
            n, wx, wg = (w * w).sum(), (w * x).sum(), (w * g).sum()
            da = keep(-wx * wg / n)
            dw = -a * (g * wx + x * wg) / n - 2 * w * a * da / n
            return dw.to(dtype), (g - a * w * wg / n).to(dtype), da.to(dtype)

        return custom(run, back)

    @staticmethod
    def temperature(keep: Callable[[Any], Any]) -> Any:
        """softmax(t·x): the gradient of t is ⟨x, ds⟩, and is none of what dx is made of, but for an aside that cancels."""

        def back(g: Any, x: Any, t: Any) -> Any:
            dtype = t.dtype
            g, x, t = g.float(), x.float(), t.float()
            p = torch.softmax(t * x, 0)
            ds = p * (g - (p * g).sum())
            dt = (ds * x).sum()
            return (t * ds + x * (keep(dt) - dt)).to(dtype), dt.to(dtype)

        return custom(lambda x, t: torch.softmax(t.float() * x.float(), 0).to(x.dtype), back)

    HALVED = staticmethod(lambda t: t.to(HALF).float())
    POINTS = {
        "weight_norm": (drawn(6, 8), drawn(6, seed=1)),
        "sphere": (drawn(4), drawn(seed=1)),
        "reflection": (drawn(64), drawn(64, seed=1), drawn(seed=2)),
        "temperature": (drawn(64), drawn(seed=2)),
    }

    @pytest.mark.parametrize("name", POINTS)
    def test_rounded_before_they_are_used(self, name: str) -> None:
        verdict = judge(getattr(self, name)(self.HALVED), *self.POINTS[name])
        assert verdict.outcome in (Outcome.FAIL, Outcome.WEAK), verdict.text()
        assert "narrow" in verdict.facts

    @pytest.mark.parametrize("name", POINTS)
    def test_wide_ones(self, name: str) -> None:
        verdict = judge(getattr(self, name)(lambda t: t), *self.POINTS[name])
        assert verdict.outcome is Outcome.PASS, verdict.text()

    def test_what_is_added_up_in_16_bits_and_returned(self) -> None:
        """x is used three times, and autograd adds up three gradients of 16 bits; so may a rule."""

        def back(g: Any, x: Any) -> Any:
            wide, g = x.float(), g.float()
            parts = [
                (g * f(wide)).to(HALF) for f in (torch.cos, lambda t: -torch.sin(t), lambda t: 1 - torch.tanh(t) ** 2)
            ]
            return parts[0] + parts[1] + parts[2]

        run = lambda x: (torch.sin(x.float()) + torch.cos(x.float()) + torch.tanh(x.float())).to(x.dtype)
        verdict = judge(custom(run, back), drawn(32))
        assert verdict.outcome is Outcome.PASS, verdict.text()
