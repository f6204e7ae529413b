"""The elementwise family: every definition against an independent one, every declaration by check_op, the edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from mpmath import mp, mpf

from gradverify.core.errors import ShapeError
from gradverify.core.interval import Interval
from gradverify.core.op import bind_params
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.oracle.balls import BALLS
from gradverify.oracle.precision import working
from gradverify.testing import check_op

NAMES = [spec.name for spec in FAMILIES["elementwise"]]


def _relu6(x):
    return mpf(0) if x < 0 else mpf(6) if x > 6 else x


def _round_half_even(x):
    return mp.nint(x)  # mpmath's own, ties to even


def _elu(x, alpha):
    return x if x > 0 else mpf(alpha) * (mp.exp(x) - 1)


def _normal_cdf_product(x, approximate):
    if approximate == "none":
        return x * mp.ncdf(x)
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf(0.044715) * x**3)))


# Independent definitions: mpmath's function of that name, or a formula other than the table's.
REFERENCES = {
    "add": mp.fadd,
    "subtract": mp.fsub,
    "multiply": mp.fmul,
    "divide": mp.fdiv,
    "pow": mp.power,
    "remainder": mp.fmod,
    "negative": mp.fneg,
    "abs": mp.fabs,
    "sign": mp.sign,
    "square": lambda x: mp.power(x, 2),
    "sqrt": lambda x: mp.power(x, mpf(1) / 2),
    "reciprocal": lambda x: mp.power(x, -1),
    "rsqrt": lambda x: mp.power(x, -mpf(1) / 2),
    "exp": mp.exp,
    "exp2": lambda x: mp.exp(x * mp.ln2),
    "expm1": lambda x: 2 * mp.exp(x / 2) * mp.sinh(x / 2),
    "log": mp.ln,
    "log1p": lambda x: mp.asinh(x * (x + 2) / (2 * (x + 1))),  # asinh(sinh(log(1 + x)))
    "log2": lambda x: mp.log(x, 2),
    "log10": mp.log10,
    "sin": lambda x: mp.im(mp.expj(x)),
    "cos": lambda x: mp.re(mp.expj(x)),
    "tan": lambda x: mp.im(mp.expj(x)) / mp.re(mp.expj(x)),
    "asin": mp.asin,
    "acos": lambda x: mp.pi / 2 - mp.asin(x),
    "atan": lambda x: mp.arg(mp.mpc(1, x)),
    "sinh": lambda x: (mp.exp(x) - mp.exp(-x)) / 2,
    "cosh": lambda x: (mp.exp(x) + mp.exp(-x)) / 2,
    "tanh": lambda x: 1 / mp.coth(x) if x else mpf(0),
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "atan2": lambda y, x: mp.arg(mp.mpc(x, y)),
    "hypot": lambda x, y: mp.fabs(mp.mpc(x, y)),
    "logaddexp": lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
    "logaddexp2": lambda x, y: mp.log(mp.power(2, x) + mp.power(2, y), 2),
    "xlogy": lambda x, y: mp.log(mp.power(y, x)),
    "xlog1py": lambda x, y: mp.log(mp.power(1 + y, x)),
    "maximum": lambda x, y: (x + y + abs(x - y)) / 2,
    "minimum": lambda x, y: (x + y - abs(x - y)) / 2,
    "clip": lambda x, min, max: sorted([x, mpf(min), mpf(max)])[1],
    "where": lambda mask, x, y: x if mask else y,
    "lerp": lambda x, y, w: (1 - w) * x + w * y,
    "addcmul": lambda x, y, z, value: x + mpf(value) * y * z,
    "floor": mp.floor,
    "ceil": mp.ceil,
    "trunc": lambda x: mpf(int(x)),
    "round": _round_half_even,
    "relu": lambda x: (x + abs(x)) / 2,
    "relu6": _relu6,
    "leaky_relu": lambda x, negative_slope: x if x > 0 else mpf(negative_slope) * x,
    "hardtanh": lambda x: (abs(x + 1) - abs(x - 1)) / 2,
    "hardsigmoid": lambda x: _relu6(x + 3) / 6,
    "hardswish": lambda x: x * _relu6(x + 3) / 6,
    "sigmoid": lambda x: (1 + mp.tanh(x / 2)) / 2,
    "log_sigmoid": lambda x: mp.log((1 + mp.tanh(x / 2)) / 2),
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "softsign": lambda x: x / (1 + x) if x > 0 else x / (1 - x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "gelu": _normal_cdf_product,
    "elu": _elu,
    "selu": lambda x: mpf(1.0507009873554805) * _elu(x, 1.6732632423543772),
    "celu": lambda x, alpha: x if x > 0 else mpf(alpha) * (mp.exp(x / mpf(alpha)) - 1),
    "mish": lambda x: x * ((1 + mp.exp(x)) ** 2 - 1) / ((1 + mp.exp(x)) ** 2 + 1),
    "logit": lambda x: 2 * mp.atanh(2 * x - 1),
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "logical_and": lambda x, y: x and y,
    "logical_or": lambda x, y: x or y,
    "logical_not": lambda x: not x,
}
PARAMS = {
    "clip": [{"min": -0.5, "max": 1.25}],
    "gelu": [{"approximate": "none"}, {"approximate": "tanh"}],
    "leaky_relu": [{}, {"negative_slope": 0.3}],
    "elu": [{}, {"alpha": 0.3}],
    "celu": [{}, {"alpha": 0.3}],
    "addcmul": [{}, {"value": -1.7}],
}
GRID = [-44.0, -5.5, -2.5, -1.0, -0.75, -1e-9, 0.0, 1e-30, 0.3, 0.5, 1.0, 1.25, 2.0, 3.5, 44.0]


@pytest.mark.parametrize("name", NAMES)
def test_the_definition_is_what_others_mean_by_the_name(name):
    """40 digits of agreement at every point of a grid that lies in the domain."""
    spec = OPS[name]
    compared = 0
    for params in PARAMS.get(name, [{}]):
        bound = bind_params(spec, params)
        grid = GRID if spec.arity < 3 else GRID[::3]
        grids = [[False, True] if spec.argument(i) == "bool" else grid for i in range(spec.arity)]
        for point in itertools.product(*grids):
            if not spec.admits(*(Interval.point(float(v)) for v in point)):
                continue
            args = [np.array(v) for v in point]
            with working(500):  # 150 digits: references may cancel
                got = spec.define(BALLS, *(a if a.dtype == bool else BALLS.asarray(a) for a in args), **bound)
                want = REFERENCES[name](*(v if isinstance(v, bool) else mpf(v) for v in point), **bound)
                if spec.result == "bool":
                    assert bool(got) == bool(want), point
                else:
                    got = mpf(np.asarray(got)[()].mid().str(160, radius=False))
                    assert abs(got - want) <= abs(want) * mpf(10) ** -40 + mpf(10) ** -200, (point, got, want)
            compared += 1
    assert compared >= 2


def test_every_op_has_an_independent_definition():
    assert set(REFERENCES) == set(NAMES)


# x**(y - 1) magnifies the rounding of y - 1 by |log x|, up to 745; PyTorch and JAX use the same form.
RULE_ULPS = {"pow": {"rule_ulps": 800}}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_the_declaration_is_sound(name, seed):
    check_op(OPS[name], seed=seed, **RULE_ULPS.get(name, {}))


def value(name, *args, dtype="float64", **params):
    spec = OPS[name]
    with np.errstate(all="ignore"):
        args = [a if np.asarray(a).dtype == bool else np.asarray(a, dtype=dtype) for a in args]
        return spec.define(NUMPY, *args, **bind_params(spec, params))


def slope(name, i, *args, dtype="float64", g=1.0, **params):
    """The cotangent of argument i for a cotangent of `g`."""
    spec = OPS[name]
    params = bind_params(spec, params)
    with np.errstate(all="ignore"):
        args = tuple(np.asarray(a, dtype=None if np.asarray(a).dtype == bool else dtype) for a in args)
        out = spec.define(NUMPY, *args, **params)
        return spec.cotangent(NUMPY, i, np.full(np.shape(out), g, dtype=dtype), out, args, params)


class TestConventions:
    """What stands at kinks and at the ends of domains: PyTorch's and JAX's documented choices."""

    @pytest.mark.parametrize("y", [0.0, 1.0, 2.0, 3.0])
    def test_pow_at_base_zero(self, y):
        assert value("pow", 0.0, y) == (1.0 if y == 0 else 0.0)
        assert slope("pow", 0, 0.0, y) == (1.0 if y == 1 else 0.0)
        assert slope("pow", 1, 0.0, y) == 0.0

    def test_pow_below_one_is_steep_at_zero(self):
        assert slope("pow", 0, 0.0, 0.5) == np.inf

    def test_pow_of_a_negative_base(self):
        assert value("pow", -2.0, 3.0) == -8.0
        assert slope("pow", 0, -2.0, 3.0) == 12.0
        assert slope("pow", 0, -2.0, 0.0) == 0.0

    @pytest.mark.parametrize("name", ["maximum", "minimum"])
    def test_a_tie_is_shared(self, name):
        assert slope(name, 0, 2.0, 2.0) == slope(name, 1, 2.0, 2.0) == 0.5

    def test_bounds_of_clip_pass(self):
        x = np.array([-1.5, -1.0, 0.0, 1.0, 1.5])
        assert slope("clip", 0, x, min=-1.0, max=1.0).tolist() == [0, 1, 1, 1, 0]
        assert slope("clip", 0, x, min=-1.0).tolist() == [0, 1, 1, 1, 1]
        assert slope("clip", 0, x, max=1.0).tolist() == [1, 1, 1, 1, 0]
        assert slope("clip", 0, x).tolist() == [1, 1, 1, 1, 1]

    def test_clip_refuses_crossed_bounds(self):
        with pytest.raises(ShapeError, match=r"min=1\.0 is above max=0\.0"):
            OPS["clip"].shape((2,), min=1.0, max=0.0)

    @pytest.mark.parametrize("name", ["abs", "sign", "relu", "relu6"])
    def test_zero_at_the_corner(self, name):
        assert slope(name, 0, 0.0) == 0.0

    def test_hypot_is_flat_at_the_origin(self):
        assert slope("hypot", 0, 0.0, 0.0) == slope("hypot", 1, 0.0, 0.0) == 0.0

    def test_round_is_to_even(self):
        assert value("round", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]).tolist() == [-2, -2, 0, 0, 2, 2]


class TestKinks:
    """The declared distance is zero exactly where the slope breaks, and the plain distance elsewhere."""

    @pytest.mark.parametrize(
        ("name", "at", "distance"),
        [
            ("abs", (0.0,), 0), ("abs", (-2.0,), 2), ("relu", (0.0,), 0), ("relu6", (6.0,), 0), ("relu6", (5.0,), 1),
            ("maximum", (1.5, 1.5), 0), ("minimum", (1.0, 3.0), 2), ("hypot", (0.0, 0.0), 0), ("hypot", (3.0, 4.0), 5),
            ("atan2", (0.0, -2.0), 0), ("atan2", (0.0, 2.0), 2), ("atan2", (0.5, -2.0), 0.5), ("floor", (2.0,), 0),
            ("floor", (2.25,), 0.25), ("ceil", (-1.0,), 0), ("round", (2.5,), 0), ("round", (2.0,), 0.5),
            ("trunc", (0.0,), 1), ("trunc", (1.0,), 0), ("trunc", (0.75,), 0.25), ("hardtanh", (-1.0,), 0),
            ("hardsigmoid", (3.0,), 0), ("hardswish", (-3.0,), 0), ("less", (2.0, 2.0), 0), ("equal", (2.0, 3.0), 1),
            ("remainder", (6.0, 3.0), 0), ("remainder", (7.0, 2.0), 0.5), ("sqrt", (0.0,), 0), ("asin", (-1.0,), 0),
            ("acosh", (1.0,), 0), ("selu", (0.0,), 0),
        ],
    )  # fmt: skip
    def test_distance(self, name, at, distance):
        assert OPS[name].kinks(NUMPY, *map(np.asarray, at)) == distance

    def test_of_clip(self):
        kinks = OPS["clip"].kinks
        x = np.array([-1.0, 0.25, 2.0])
        assert kinks(NUMPY, x, min=-1.0, max=1.0).tolist() == [0, 0.75, 1]
        assert kinks(NUMPY, x, min=-1.0, max=None).tolist() == [0, 1.25, 3]
        assert (kinks(NUMPY, x, min=None, max=None) > 0).all()

    @pytest.mark.parametrize("name", ["softplus", "sigmoid", "silu", "mish", "gelu", "logaddexp", "softsign", "celu"])
    def test_smooth_ones_have_none(self, name):
        assert OPS[name].kinks is None


class TestTails:
    """Where careless forms lose every digit, overflow or make NaN."""

    @pytest.mark.parametrize(
        ("name", "x", "want"),
        [
            # d = exp(-40) up to 4e-18 of itself
            ("sigmoid", 40.0, np.exp(-40.0)), ("sigmoid", -40.0, np.exp(-40.0)), ("tanh", 40.0, 4 * np.exp(-80.0)),
            ("softplus", -40.0, np.exp(-40.0)), ("softplus", 40.0, 1.0), ("log_sigmoid", 40.0, np.exp(-40.0)),
            ("expm1", -40.0, np.exp(-40.0)), ("sigmoid", 700.0, np.exp(-700.0)), ("softplus", -700.0, np.exp(-700.0)),
            ("log_sigmoid", -700.0, 1.0), ("silu", -700.0, -699 * np.exp(-700.0)),
            ("mish", -700.0, -699 * np.exp(-700.0)),
            ("elu", -700.0, np.exp(-700.0)), ("asinh", 1e200, 1e-200), ("acosh", 1e200, 1e-200),
            ("atan", 1e100, 1e-200),
            ("softsign", 1e100, 1e-200), ("rsqrt", 1e-200, -0.5e300),
        ],
    )  # fmt: skip
    def test_slopes(self, name, x, want):
        # 8 ulps: the rule's own few roundings and those of `want`
        assert slope(name, 0, x) == pytest.approx(want, rel=8 * np.finfo(float).eps, abs=0)

    @pytest.mark.parametrize(
        "name", ["sigmoid", "softplus", "silu", "gelu", "mish", "tanh", "log_sigmoid", "elu", "selu"]
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_nothing_makes_nan_far_out(self, name, dtype):
        x = np.array([-1e30, -745.0, -104.0, -89.0, 89.0, 104.0, 745.0, 1e30])
        for params in PARAMS.get(name, [{}]):
            out, d = value(name, x, dtype=dtype, **params), slope(name, 0, x, dtype=dtype, **params)
            assert np.isfinite(out).all()
            assert np.isfinite(d).all()

    @pytest.mark.parametrize("far", [40.0, 700.0, 1e30])
    def test_logaddexp(self, far):
        assert value("logaddexp", far, 0.0) == pytest.approx(far, rel=1e-15)
        assert slope("logaddexp", 1, far, 0.0) == pytest.approx(np.exp(-far), rel=1e-15, abs=0)
        assert slope("logaddexp", 0, far, 0.0) == 1.0

    def test_two_arguments_far_from_one(self):
        assert slope("hypot", 0, 3e200, 4e200) == pytest.approx(0.6)
        assert slope("atan2", 0, 3e200, 4e200) == pytest.approx(0.16e-200)
        assert slope("divide", 1, 1e200, 1e200) == pytest.approx(-1e-200)

    def test_logit_at_the_ends(self):
        assert value("logit", 1e-300) == pytest.approx(np.log(1e-300), rel=1e-15)
        assert value("logit", 1 - 2.0**-53) == pytest.approx(53 * np.log(2), rel=1e-15)
        assert slope("logit", 0, 1e-300) == pytest.approx(1e300)

    def test_xlogy_at_zero(self):
        assert value("xlogy", 0.0, 0.0) == 0.0
        assert value("xlogy", [0.0, 2.0], [3.0, 0.0]).tolist() == [0.0, -np.inf]
        assert slope("xlogy", 1, 0.0, 3.0) == 0.0
        assert value("xlog1py", 0.0, -1.0) == 0.0

    def test_where_keeps_the_other_branch_out(self):
        """0 * inf in the branch that is not taken: the cotangent is an exact zero."""
        mask = np.array([True, False])
        assert slope("where", 1, mask, [1.0, np.inf], [np.inf, 1.0], g=np.inf).tolist() == [np.inf, 0.0]
        assert slope("where", 2, mask, [1.0, np.inf], [np.inf, 1.0], g=np.nan)[0] == 0.0


class TestDomains:
    @pytest.mark.parametrize(
        ("name", "intervals", "admitted"),
        [
            ("divide", [(0, 1), (1, 2)], True), ("divide", [(0, 1), (-1, 2)], False),
            ("pow", [(0.5, 2), (-3, 3)], True),
            ("pow", [(-2, 2), (3, 3)], True), ("pow", [(-2, 2), (-1, -1)], False), ("pow", [(-2, -1), (-1, -1)], True),
            ("pow", [(-2, 2), (2, 3)], False), ("tan", [(-1, 1)], True), ("tan", [(1, 2)], False),
            ("tan", [(2, 4)], True),
            ("atan2", [(0, 1), (0.5, 1)], True), ("atan2", [(-1, 1), (-1, 1)], False), ("log", [(0, 1)], False),
            ("remainder", [(0, 10), (1, 2)], True), ("remainder", [(0, 1e9), (1, 2)], False),
            ("asin", [(-1, 1)], True), ("atanh", [(-1, 0)], False), ("acosh", [(0.5, 2)], False),
        ],
    )  # fmt: skip
    def test_admits(self, name, intervals, admitted):
        assert OPS[name].admits(*(Interval(*i) for i in intervals)) is admitted


def test_the_family_is_large_and_its_aliases_are_free():
    assert len(NAMES) + len(FAMILIES["special"]) >= 60
    aliases = [alias for spec in OPS.values() for alias in spec.aliases]
    assert not set(aliases) & set(OPS)
    assert len(aliases) == len(set(aliases))
