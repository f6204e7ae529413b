# ruff: noqa: E501 - one entry, one line: a table
"""Recurrences: linear attention, the delta rule, selective scans."""

from __future__ import annotations

import torch

from ..catalogue import Kernels, up

KERNELS = Kernels()


@KERNELS.add(
    "linear-attention", "flash-linear-attention, ops/retention: chunks of 8", lambda r: (r(32, 4), r(32, 4), r(32, 4)),
    {
        "state-gradient": "the state's gradient is kept in 16 bits between the chunks",
        "state": "the state is saved in 16 bits",
        "decay": "the decays within a chunk are stored in 16 bits",
    },
    {"decay-rate": "a decay of 0.9495 for 0.95 in the state's gradient", "boundary": "the state's gradient lacks 1e-3 at a chunk's boundary"},
)  # fmt: skip
class LinearAttention:
    C, RATE = 8, 0.95

    @staticmethod
    def decays(run, dtype, bug=""):
        at = torch.arange(LinearAttention.C, dtype=dtype)
        rate = torch.full((), LinearAttention.RATE, dtype=dtype)
        inside = torch.where(at[:, None] >= at, rate ** (at[:, None] - at).clamp(min=0), 0.0)
        found = inside, rate ** (at + 1), rate ** (LinearAttention.C - 1 - at)
        return tuple(run.narrow(bug, t) for t in found) if bug else found

    @staticmethod
    def forward(run, q, k, v):
        inside, enter, leave = LinearAttention.decays(run, up(q).dtype)
        state = torch.zeros(4, 4, dtype=up(q).dtype)
        out, states = [], []
        for a, b, c in zip(*(up(t).split(LinearAttention.C) for t in (q, k, v))):
            states.append(state)
            out.append((a @ b.T * inside) @ c + a @ state * enter[:, None])
            state = state * LinearAttention.RATE**LinearAttention.C + (b * leave[:, None]).T @ c
        return run.down(torch.cat(out)), (run.narrow("state", torch.stack(states)),)

    @staticmethod
    def backward(run, args, saved, g):
        (states,) = saved
        inside, enter, leave = LinearAttention.decays(run, up(g).dtype, "decay")
        ds = torch.zeros(4, 4, dtype=up(g).dtype)
        dq, dk, dv = [], [], []
        parts = [up(t).split(LinearAttention.C) for t in (*args, g)]
        for a, b, c, h, state in reversed(list(zip(*parts, states))):
            dp = h @ c.T * inside
            dq.append(dp @ b + h @ state.T * enter[:, None])
            dk.append(dp.T @ a + c @ ds.T * leave[:, None])
            dv.append((a @ b.T * inside).T @ h + (b * leave[:, None]) @ ds)
            rate = run.of("decay-rate", 0.9495, LinearAttention.RATE) ** LinearAttention.C
            ds = run.add("state-gradient", ds * (rate * run.of("boundary", 0.999, 1.0)), (a * enter[:, None]).T @ h)
        return tuple(run.down(torch.cat(d[::-1])) for d in (dq, dk, dv))


@KERNELS.add(
    "gated-delta-rule", "flash-linear-attention, ops/gated_delta_rule, step by step",
    lambda r: (r.unit(16, 4), r.unit(16, 4), r(16, 4), r.of(r.rng.uniform(0.2, 0.8, 16)), r.of(r.rng.uniform(0.8, 0.99, 16))),
    {
        "state-gradient": "the state's gradient is kept in 16 bits",
        "state": "the states are saved in 16 bits",
        "residual": "v less what the state predicts is taken in 16 bits",
    },
    {"key-term": "the term of k in the state's gradient is short by 1e-3", "gate": "the gate's gradient lacks the correction of the prediction"},
)  # fmt: skip
class GatedDeltaRule:
    @staticmethod
    def forward(run, q, k, v, beta, gate):
        q, k, v, beta, gate = (up(t) for t in (q, k, v, beta, gate))
        state = torch.zeros(4, 4, dtype=q.dtype)
        out, states = [], []
        for t in range(q.shape[0]):
            states.append(state)
            kept = state * gate[t]
            state = kept + torch.outer(k[t], beta[t] * (v[t] - k[t] @ kept))
            out.append(q[t] @ state)
        return run.down(torch.stack(out)), (run.narrow("state", torch.stack([*states, state])),)

    @staticmethod
    def backward(run, args, saved, g):
        (q, k, v, beta, gate), (states,), g = tuple(map(up, args)), saved, up(g)
        ds = torch.zeros(4, 4, dtype=g.dtype)
        grads = [[], [], [], [], []]
        for t in reversed(range(q.shape[0])):
            kept, after = states[t] * gate[t], states[t + 1]
            error = up(run.computed("residual", v[t]) - run.computed("residual", k[t] @ kept)).to(g.dtype)
            ds = run.narrow("state-gradient", ds + torch.outer(q[t], g[t]))
            de = beta[t] * (k[t] @ ds)
            through = torch.outer(k[t], de) * run.of("key-term", 0.999, 1.0)
            found = (
                after @ g[t],
                ds @ (beta[t] * error) - kept @ de,
                de,
                (k[t] @ ds) @ error,
                ((ds if run.has("gate") else ds - through) * states[t]).sum(),
            )
            for many, one in zip(grads, found):
                many.append(one)
            ds = (ds - through) * gate[t]
        return tuple(run.down(torch.stack(d[::-1])) for d in grads)


@KERNELS.add(
    "selective-scan", "Mamba, csrc/selective_scan",
    lambda r: (r(24, 3), r.of(r.rng.uniform(0.05, 0.5, (24, 3))), r.of(-r.rng.uniform(0.5, 2.0, (3, 4))), r(24, 4), r(24, 4)),
    {
        "state-gradient": "the state's gradient is kept in 16 bits",
        "decay": "exp(Δ·A) is stored in 16 bits",
        "a-sum": "A's gradient is added up over the steps in 16 bits",
    },
    {"delta": "Δ's gradient is short by 1e-3 of the input's term", "first": "A's gradient lacks the last step"},
)  # fmt: skip
class SelectiveScan:
    @staticmethod
    def forward(run, u, dt, a, b, c):
        u, dt, a, b, c = (up(t) for t in (u, dt, a, b, c))
        h = torch.zeros(a.shape, dtype=u.dtype)
        out, states = [], []
        for t in range(u.shape[0]):
            states.append(h)
            h = (dt[t][:, None] * a).exp() * h + (dt[t] * u[t])[:, None] * b[t]
            out.append(h @ c[t])
        return run.down(torch.stack(out)), (torch.stack([*states, h]),)

    @staticmethod
    def backward(run, args, saved, g):
        (u, dt, a, b, c), (states,), g = tuple(map(up, args)), saved, up(g)
        dh = torch.zeros(a.shape, dtype=g.dtype)
        grads, da = [[], [], [], []], []
        for t in reversed(range(u.shape[0])):
            decay = run.narrow("decay", (dt[t][:, None] * a).exp())
            dh = run.narrow("state-gradient", dh + torch.outer(g[t], c[t]))
            slope = dh * states[t] * decay
            into = dh @ b[t]
            found = (
                dt[t] * into,
                (slope * a).sum(-1) + run.of("delta", 0.999, 1.0) * u[t] * into,
                (dt[t] * u[t]) @ dh,
                g[t] @ states[t + 1],
            )
            for many, one in zip(grads, found):
                many.append(one)
            da.append(slope * dt[t][:, None])
            dh = dh * decay
        du, ddt, db, dc = (run.down(torch.stack(d[::-1])) for d in grads)
        return du, ddt, run.down(run.rows("a-sum", torch.stack(da[run.has("first") :]))), db, dc


@KERNELS.add(
    "gated-recurrence", "Griffin's RG-LRU; flash-linear-attention, ops/hgrn", lambda r: (r(64, 4), r.of(r.rng.uniform(0.9, 0.995, (64, 4)))),
    {
        "state-gradient": "the state's gradient is kept in 16 bits",
        "state": "the states are saved in 16 bits, as the output is",
        "gain": "√(1 - a²) is computed in 16 bits",
    },
    {"gain-slope": "the slope of √(1 - a²) is short by 1e-3", "shift": "a's gradient has the state of the same step at the last one"},
)  # fmt: skip
class GatedRecurrence:
    @staticmethod
    def forward(run, x, a):
        x, a = up(x), up(a)
        gain = ((1 - a) * (1 + a)).sqrt()
        h, states = torch.zeros(x.shape[1], dtype=x.dtype), []
        for t in range(x.shape[0]):
            h = a[t] * h + gain[t] * x[t]
            states.append(h)
        out = torch.stack(states)
        return run.down(out), (run.narrow("state", out),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, a), (out,), g = tuple(map(up, args)), saved, up(g)
        z = run.computed("gain", a)
        gain = up(((1 - z) * (1 + z)).sqrt())
        before = torch.cat([torch.zeros_like(out[:1]), out[:-2], out[-1:] if run.has("shift") else out[-2:-1]])
        dh, all_dh = torch.zeros(x.shape[1], dtype=g.dtype), []
        for t in reversed(range(x.shape[0])):
            dh = run.narrow("state-gradient", dh + g[t])
            all_dh.append(dh)
            dh = dh * a[t]
        dh = torch.stack(all_dh[::-1])
        slope = -a / gain * run.of("gain-slope", 0.999, 1.0)
        return run.down(dh * gain), run.down(dh * before + dh * x * slope)
