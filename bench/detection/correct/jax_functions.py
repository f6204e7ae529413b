"""Right functions of JAX: its own operations, and custom rules."""

from __future__ import annotations

from functools import cache

from ..catalogue import Entry, Rand
from ..mutants.jax_rules import _array

ENTRIES: list[Entry] = []


def ok(name, about, call, args=lambda r: (r(3, 4),), into=ENTRIES, **more):
    def made():
        import jax
        import jax.numpy as jnp

        return (lambda *a: call(jax, jnp, *a)), tuple(_array(a) for a in args(Rand(name)))

    into.append(Entry(name=f"jax-{name}", bug=0, about=about, make=made, framework="jax", **more))


ok("softmax", "jax.nn.softmax", lambda jax, jnp, x: jax.nn.softmax(x), quick=True)
ok(
    "logsumexp-large",
    "logsumexp at 1000",
    lambda jax, jnp, x: jax.nn.logsumexp(x, -1),
    lambda r: (r.of([[1000.0, 999.0, 0.0]]),),
)
ok("relu-at-zero", "relu at exactly 0", lambda jax, jnp, x: jax.nn.relu(x), lambda r: (r.of([-1.0, 0.0, 2.0]),))
ok("max-tie", "max of a tie", lambda jax, jnp, x: x.max(-1), lambda r: (r.of([[1.0, 3.0, 3.0]]),))
ok(
    "where-double-safe",
    "the double where",
    lambda jax, jnp, x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0),
    lambda r: (r.of([-1.0, 2.0]),),
    quick=True,
)
ok("prod-with-zero", "prod with a zero", lambda jax, jnp, x: jnp.prod(x), lambda r: (r.of([2.0, 0.0, 3.0]),))
ok(
    "scan",
    "a scan of five steps",
    lambda jax, jnp, x: jax.lax.scan(lambda c, _: (jnp.sin(c) + 0.5 * c, None), x, None, length=5)[0],
)


@cache
def _jitted():
    """Jitted once, as people do; a new `jax.jit` in each call would compile in each call."""
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda y: jnp.tanh(y) * jnp.exp(-y * y))


ok("jit", "a jitted function", lambda jax, jnp, x: _jitted()(x), quick=True)
ok("vmap", "a vmapped product", lambda jax, jnp, x, y: jax.vmap(jnp.dot)(x, y), lambda r: (r(3, 4), r(3, 4)))
ok("gather-repeats", "x[index] with repeats", lambda jax, jnp, x: x[jnp.asarray([0, 2, 2])])
ok(
    "layer-norm",
    "layer norm",
    lambda jax, jnp, x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5),
)
ok(
    "stop-gradient-shift",
    "softmax with the shift stopped",
    lambda jax, jnp, x: (e := jnp.exp(x - jax.lax.stop_gradient(x.max(-1, keepdims=True)))) / e.sum(-1, keepdims=True),
)
ok("cond", "a cond on the sum", lambda jax, jnp, x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.exp, x))
ok("zero-d", "a 0-d input", lambda jax, jnp, x: jnp.sin(x), lambda r: (r(),))
