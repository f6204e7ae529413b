# ruff: noqa: E501 - one entry, one line: a table
"""Classes 12 to 16: what kernels get wrong: strides, index ranges, tile tails, precision, duplicate indices."""

from __future__ import annotations

import torch

from ..catalogue import FLOAT32_AND_LESS, HALF, Table, function

T12, T13, T14, T15, T16 = (Table(k) for k in (12, 13, 14, 15, 16))


def _x(r):
    return (r(3, 4),)


def _in_memory_order(t):
    """The entries of t as they lie in memory: what a kernel sees that ignores strides. Zeros beyond what is stored."""
    flat = t.as_strided((t.untyped_storage().nbytes() // t.element_size() - t.storage_offset(),), (1,))[: t.numel()]
    return torch.cat([flat, flat.new_zeros(t.numel() - flat.numel())]).reshape(t.shape)


def _sin(change, name, about, **more):
    T12.pair(name, about, torch.sin, lambda g, o, x: change(g, x), lambda g, o, x: g * x.cos(), _x, **more)


# --- 12. Each of these is right for contiguous memory: what is given to them decides.

_sin(lambda g, x: _in_memory_order(g) * x.cos(), "g-strides-ignored", "the cotangent is read as if contiguous", source="flash-attention#355", elsewhere="a strided cotangent", quick=True)  # fmt: skip
_sin(lambda g, x: g * _in_memory_order(x).cos(), "x-strides-ignored", "the saved input is read as if contiguous", source="pytorch#113642", elsewhere="a strided input", quick=True)  # fmt: skip
_sin(lambda g, x: g.view(-1).mul(x.reshape(-1).cos()).view(x.shape), "view-of-g-raises", "g.view(-1) raises for a cotangent that is not contiguous", elsewhere="a strided cotangent")  # fmt: skip
_sin(lambda g, x: (_in_memory_order(g) if 0 in g.stride() else g) * x.cos(), "expanded-g-read-flat", "only an expanded (stride 0) cotangent is misread", source="pytorch#180201", elsewhere="an expanded cotangent", quick=True)  # fmt: skip
_sin(lambda g, x: (2 * g if all(s == 0 for s in g.stride()) else g) * x.cos(), "expanded-scalar-doubled", "a cotangent expanded from one number, as sum() sends it, is counted twice", elsewhere="an expanded cotangent")  # fmt: skip
_sin(lambda g, x: (g.T.contiguous().reshape(g.shape) if g.stride(0) == 1 and g.shape[0] > 1 else g) * x.cos(), "column-major-g-transposed", "a column-major cotangent is transposed once too often", source="pytorch#30303", elsewhere="a transposed cotangent")  # fmt: skip
_sin(lambda g, x: (g if g.storage_offset() == 0 else torch.zeros_like(g)) * x.cos(), "g-offset-ignored", "a cotangent that begins within its storage (a slice) is lost", elsewhere="a sliced cotangent", quick=True)  # fmt: skip
_sin(lambda g, x: g * (x if x.storage_offset() == 0 else torch.zeros_like(x)).cos(), "x-offset-ignored", "a saved input that begins within its storage (a slice) is taken from the start", elsewhere="a sliced input")  # fmt: skip


def _called_on_transposed(f):
    return lambda x: f(x.T)


T12.add("transposed-inside", "called on x.T inside the function: the saved input's strides are ignored", lambda: _called_on_transposed(function(torch.sin, lambda g, o, x: g * _in_memory_order(x).cos())()), lambda r: (r(3, 4),), source="pytorch#188344")  # fmt: skip
T12.add("expanded-inside", "followed by sum(): the expanded cotangent is read flat", lambda: _summed(function(torch.sin, lambda g, o, x: _in_memory_order(g) * x.cos())()), lambda r: (r(3, 4),), source="pytorch#180201")  # fmt: skip
T12.add("transposed-after", "followed by a transpose: the cotangent's strides are ignored", lambda: _turned(function(torch.sin, lambda g, o, x: _in_memory_order(g) * x.cos())()), lambda r: (r(3, 4),), function(torch.sin, lambda g, o, x: g * x.cos()), quick=True)  # fmt: skip


def _summed(f):
    return lambda x: f(x).sum(0)


def _turned(f):
    return lambda x: f(x).T @ torch.ones(x.shape[0], dtype=x.dtype) + f(x).T.exp().sum(1)


# --- 13


def _beyond(n, what=0.0):
    def backward(g, o, x):
        keep = (torch.arange(x.numel()) < n).reshape(x.shape)
        return g * x.cos() * torch.where(keep, 1.0, what).to(x.dtype)

    return function(torch.sin, backward)


def _wrapped(bits):
    def backward(g, o, x):
        d = (g * x.cos()).reshape(-1)
        at = torch.arange(d.numel())
        at = torch.where(at >= 2 ** (bits - 1), at - 2**bits, at).remainder(d.numel())
        return torch.zeros_like(d).index_put((at,), d).reshape(x.shape)

    return function(torch.sin, backward)


T13.add(
    "grid-of-256",
    "entries beyond 256 get no gradient, at 300",
    _beyond(256),
    lambda r: (r(300),),
    source="pytorch#22843",
    quick=True,
)
T13.add("int8-index", "an int8 index wraps at 128, at 200", _wrapped(8), lambda r: (r(200),))
T13.add("grid-of-1024", "entries beyond 1024 get no gradient, at 1100", _beyond(1024), lambda r: (r(1100),))
T13.add(
    "grid-of-4096",
    "entries beyond 4096 are doubled, at 4100",
    _beyond(4096, 2.0),
    lambda r: (r(4100),),
    source="mamba#884",
)
T13.add(
    "grid-of-16-elsewhere",
    "entries beyond 16 get no gradient, given 8",
    _beyond(16),
    lambda r: (r(8),),
    elsewhere="17 entries or more",
    quick=True,
)
T13.add(
    "grid-of-256-elsewhere",
    "entries beyond 256 get no gradient, given 4",
    _beyond(256),
    lambda r: (r(4),),
    elsewhere="257 entries or more",
)
T13.add("rows-beyond-4", "rows beyond the fourth get no gradient, given 3", lambda: function(torch.sin, lambda g, o, x: g * x.cos() * (torch.arange(x.shape[0]) < 4)[:, None])(), _x, source="pytorch#27442", elsewhere="5 rows or more")  # fmt: skip

# --- 14


def _tile(n, fill):
    def backward(g, o, x):
        d = (g * x.cos()).reshape(-1).clone()
        d[d.numel() // n * n :] = fill
        return d.reshape(x.shape)

    return function(torch.sin, backward, once=True)


T14.add(
    "tail-of-4-dropped",
    "the last n % 4 entries get nothing, at 10",
    _tile(4, 0.0),
    lambda r: (r(10),),
    source="attorch#18",
    quick=True,
)
T14.add(
    "tail-of-4-elsewhere",
    "the last n % 4 entries get nothing, given 8",
    _tile(4, 0.0),
    lambda r: (r(8),),
    elsewhere="a size that is no multiple of 4",
    quick=True,
)
T14.add(
    "tail-of-16-nan",
    "the last n % 16 entries are left uninitialised (NaN), at 20",
    _tile(16, torch.nan),
    lambda r: (r(20),),
    source="pytorch#51036",
)
T14.add(
    "tail-of-64-elsewhere",
    "the last n % 64 entries get nothing, given 64",
    _tile(64, 0.0),
    lambda r: (r(64),),
    elsewhere="a size that is no multiple of 64",
)
T14.add("odd-row-reads-neighbour", "with an odd number of rows the last one is paired with the first", lambda: function(torch.sin, lambda g, o, x: (g if x.shape[0] % 2 == 0 else torch.cat([g[:-1], g[:1]])) * x.cos())(), lambda r: (r(4, 3),), elsewhere="an odd number of rows")  # fmt: skip
T14.add("batch-of-one-squeezed", "a batch of one is averaged over its features", lambda: function(torch.sin, lambda g, o, x: (g.mean() if x.shape[0] == 1 else g) * x.cos())(), lambda r: (r(4, 3),), elsewhere="a batch of one")  # fmt: skip
T14.add("masked-rows-uninitialised", "rows masked out are never written: 1e30 from the allocator", lambda: function(lambda x: x * (x[:, :1] > 0), lambda g, o, x: torch.where(x[:, :1] > 0, g, 1e30))(), lambda r: (r.of([[1.0, 2.0], [-1.0, 3.0]]),),
        lambda: function(lambda x: x * (x[:, :1] > 0), lambda g, o, x: g * (x[:, :1] > 0))(), source="pytorch#177116")  # fmt: skip
T14.add("last-column-shifted", "reads one past the row: the last column gets the next row's first", lambda: function(torch.sin, lambda g, o, x: g.reshape(-1)[(torch.arange(x.numel()) + (torch.arange(x.numel()) % x.shape[1] == x.shape[1] - 1)).clamp(max=x.numel() - 1)].reshape(x.shape) * x.cos())(), _x)  # fmt: skip

# --- 15


def _low(name, about, wrong, forward=torch.sin, right=lambda g, o, x: g * x.cos(), args=_x, **more):
    T15.pair(name, about, forward, wrong, right, args, **more)


_low(
    "backward-in-float32",
    "the whole backward pass in float32",
    lambda g, o, x: (g.float() * x.float().cos()).to(x.dtype),
    quick=True,
    none_in=FLOAT32_AND_LESS,
)
_low(
    "saved-as-float16",
    "the saved input is compressed to float16",
    lambda g, o, x: g * x.half().to(x.dtype).cos(),
    none_in=HALF,
)
_low(
    "derivative-rounded-float32",
    "only the derivative is rounded to float32",
    lambda g, o, x: g * x.cos().float().to(x.dtype),
    none_in=FLOAT32_AND_LESS,
)
_low("float32-constant", "a factor of 0.1 kept in float32: 1.5e-8 off", lambda g, o, x: g * torch.tensor(0.1, dtype=torch.float32).to(x.dtype), lambda x: 0.1 * x, lambda g, o, x: 0.1 * g, quick=True, none_in=frozenset({"float32"}))  # fmt: skip
_low("bfloat16-accumulator", "the sum over 1600 ones in bfloat16 stops at 256", lambda g, o, x, s: (None, _bf16_sum(g * x)), lambda x, s: x * s, lambda g, o, x, s: (None, (g * x).sum()),
     lambda r: (torch.ones(1600, dtype=torch.float32), r.of(1.5, torch.float32)), source="pytorch#68048")  # fmt: skip
_low("float16-sequential-sum", "a sum of 2000 float32 numbers, one after the other in a float16 accumulator", lambda g, o, x, s: (None, _sequential(g * x)), lambda x, s: x * s, lambda g, o, x, s: (None, (g * x).sum()),
     lambda r: (torch.full((2000,), 0.1, dtype=torch.float32), r.of(1.5, torch.float32)))  # fmt: skip
_low("half-when-float32", "float32 inputs are taken through bfloat16; float64 ones are not", lambda g, o, x: (g.bfloat16() if x.dtype == torch.float32 else g).to(x.dtype) * x.cos(), elsewhere="float32", source="pytorch#195701", quick=True, none_in=HALF)  # fmt: skip
_low("reciprocal-one-newton-step", "1/x by one Newton step from a float16 estimate: 1e-7 off", lambda g, o, x: -g * _reciprocal(x) ** 2, torch.reciprocal, lambda g, o, x: -g / x**2, lambda r: (r.pos(5),))  # fmt: skip
_low("float32-intermediate-g", "g·w summed in float32, the rest in float64", lambda g, o, x, w: ((g.float() @ w.float().T).to(x.dtype), x.T @ g), torch.matmul, lambda g, o, x, w: (g @ w.T, x.T @ g), lambda r: (r(3, 4), r(4, 5)), none_in=FLOAT32_AND_LESS, source="tinygrad#12296")  # fmt: skip
_low(
    "gradient-returned-in-float16-grid",
    "the gradient is quantised to 1/1024",
    lambda g, o, x: (g * x.cos() * 1024).round() / 1024,
)


def _bf16_sum(t):
    total = torch.zeros((), dtype=torch.bfloat16)
    for v in t.flatten().bfloat16():
        total = total + v
    return total.to(t.dtype)


def _sequential(t):
    total = torch.zeros((), dtype=torch.float16)
    for v in t.flatten().half():
        total = total + v
    return total.to(t.dtype)


def _reciprocal(x):
    y = (1 / x).half().to(x.dtype)
    return y * (2 - x * y)


# --- 16

AT = torch.tensor([0, 2, 2, 1, 2])


def _dup(name, about, forward, wrong, right, args=lambda r: (r(4), AT), **more):
    T16.pair(name, about, forward, wrong, right, args, **more)


_dup("gather-writes", "x[index] with repeats: written, not added", lambda x, i: x[i], lambda g, o, x, i: torch.zeros_like(x).index_put((i,), g), lambda g, o, x, i: torch.zeros_like(x).index_add(0, i, g), source="pytorch#1631", quick=True)  # fmt: skip
_dup("gather-means", "x[index] with repeats: the mean of the duplicates", lambda x, i: x[i], lambda g, o, x, i: torch.zeros_like(x).index_add(0, i, g) / torch.bincount(i, minlength=4).clamp(min=1), lambda g, o, x, i: torch.zeros_like(x).index_add(0, i, g), source="pytorch#3644")  # fmt: skip
_dup("gather-sorted-only", "x[index]: neighbours that are equal are added, others overwritten", lambda x, i: x[i], lambda g, o, x, i: torch.zeros_like(x).index_put((i[[0, 1, 3, 4]],), torch.stack([g[0], g[1] + g[2], g[3], g[4]])), None)  # fmt: skip
_dup("embedding-last-wins", "embedding rows: the last occurrence wins", lambda w, i: w[i], lambda g, o, w, i: torch.zeros_like(w).index_put((i,), g), lambda g, o, w, i: torch.zeros_like(w).index_add(0, i, g), lambda r: (r(4, 3), AT))  # fmt: skip
_dup("scatter-add-no-gather", "scatter_add: the source's gradient is g cut to its length", lambda x, i: torch.zeros(5, dtype=x.dtype).index_add(0, i, x), lambda g, o, x, i: g[: len(i)].clone(), lambda g, o, x, i: g[i], lambda r: (r(5), AT), source="pytorch#96764")  # fmt: skip
_dup("gather-elsewhere", "x[index]: written, not added, given an index without repeats", lambda x, i: x[i], lambda g, o, x, i: torch.zeros_like(x).index_put((i,), g), None, lambda r: (r(4), torch.tensor([3, 0, 2])), elsewhere="an index with repeats")  # fmt: skip


def _race():
    calls = [0]

    def backward(g, o, x):
        calls[0] += 1
        d = g * x.cos()
        lost = torch.arange(x.numel()).reshape(x.shape) == calls[0] % x.numel()
        return torch.where(lost, d * (1 - 1e-3 * (calls[0] % 3 == 2)), d)

    return function(torch.sin, backward, once=True)()


T16.add("race-loses-an-update", "every third call one entry is 1e-3 short, as after a lost update", _race, _x)
T16.pair("max-pool-overlap", "overlapping max-pool windows won by one entry: it gets one share only", lambda x: torch.nn.functional.max_pool1d(x[None], 3, 1)[0],
         lambda g, o, x: torch.zeros_like(x).index_put((x.unfold(0, 3, 1).argmax(-1) + torch.arange(4),), g), lambda g, o, x: torch.zeros_like(x).index_add(0, x.unfold(0, 3, 1).argmax(-1) + torch.arange(4), g),
         lambda r: (r.of([0.1, 0.4, 3.0, 0.2, -1.0, 0.5]),))  # fmt: skip

ENTRIES = [*T12, *T13, *T14, *T15, *T16]
