"""Every schedule beside PyTorch's: over an optimiser with momentum or betas, and after the user set a rate by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import gradverify.engine

torch_real = pytest.importorskip("torch")

Make = Callable[[Any, Any], Any]

SCHEDULES: dict[str, Make] = {
    "lam": lambda s, o: s.LambdaLR(o, lambda e: 0.95**e),
    "lams": lambda s, o: s.LambdaLR(o, [lambda e: 0.95**e, lambda e: 0.5 * e]),
    "mul": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.95),
    "step": lambda s, o: s.StepLR(o, 3, 0.1),
    "ms": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], 0.1),
    "exp": lambda s, o: s.ExponentialLR(o, 0.9),
    "const": lambda s, o: s.ConstantLR(o, 0.5, 4),
    "lin": lambda s, o: s.LinearLR(o, 0.3, 0.8, 4),
    "poly": lambda s, o: s.PolynomialLR(o, 7, 2.0),
    "cos": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "cwr": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "cyc": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 4, 3),
    "cyc2": lambda s, o: s.CyclicLR(o, 0.1, [1.0, 2.0], 4, mode="triangular2", base_momentum=0.5),
    "cyce": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 4, mode="exp_range", gamma=0.9),
    "cycf": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 4, scale_fn=lambda x: 1 / x, cycle_momentum=False),
    "one": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=20),
    "one3": lambda s, o: s.OneCycleLR(
        o, [1.0, 2.0], epochs=4, steps_per_epoch=5, three_phase=True, anneal_strategy="linear"
    ),
    "seq": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9), s.StepLR(o, 2)], [4, 9]),
    "chain": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)]),
    "both": lambda s, o: s.ChainedScheduler([s.StepLR(o, 2), s.CosineAnnealingLR(o, 5)]),
}


def optimiser(torch: Any, adam: bool) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.5 * (k + 1)} for k in range(2)]
    return torch.optim.Adam(groups, lr=0.1) if adam else torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def rates(torch: Any, make: Make, adam: bool, by_hand: bool) -> list[list[float]]:
    """Per epoch, the rate and the momentum of every group; the schedule is saved and loaded on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o = optimiser(torch, adam)
        schedule, seen = make(torch.optim.lr_scheduler, o), []
        for k in range(17):
            groups = o.param_groups
            seen.append([g["lr"] for g in groups] + [g["betas"][0] if adam else g["momentum"] for g in groups])
            seen[-1] += schedule.get_last_lr()
            o.step()
            schedule.step()
            if by_hand and k == 4:
                o.param_groups[0]["lr"] = 7.0
            if k == 8 and not by_hand:
                state, schedule = schedule.state_dict(), make(torch.optim.lr_scheduler, optimiser(torch, adam))
                schedule.load_state_dict(state)
                schedule.optimizer = o
                for inner in getattr(schedule, "_schedulers", ()):
                    inner.optimizer = o
    return seen


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_pytorchs(name: str, adam: bool, by_hand: bool) -> None:
    """A rate is a product of at most 17 factors, each rounded a few times: 100 ulps of a double are 2e-14."""
    mine, theirs = (rates(t, SCHEDULES[name], adam, by_hand) for t in (gradverify.engine, torch_real))
    for a, b in zip(mine, theirs):
        assert a == pytest.approx(b, rel=2e-14, abs=2e-16)


METRICS = [1, 0.9, 0.89999, 0.9, 0.91, 0.92, 0.93, 0.5, 0.5, 0.5, 0.5, 0.6, -0.1, -0.1, -0.10001, *[-0.2] * 5]


@pytest.mark.parametrize("options", [
    {}, {"patience": 1}, {"patience": 1, "mode": "max"}, {"patience": 1, "threshold_mode": "abs", "threshold": 0.01},
    {"patience": 2, "cooldown": 2, "factor": 0.5, "min_lr": [0.2, 0.1]},
    {"mode": "max", "threshold_mode": "abs", "patience": 0},
])  # fmt: skip
def test_plateaus_are_pytorchs(options: dict[str, Any]) -> None:
    def seen(torch: Any) -> list[Any]:
        o = optimiser(torch, False)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(o, **options)
        out = []
        for m in METRICS:
            schedule.step(m)
            out.append(([g["lr"] for g in o.param_groups], schedule.num_bad_epochs, schedule.cooldown_counter))
        return out

    assert seen(gradverify.engine) == seen(torch_real)
