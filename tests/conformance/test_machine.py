"""Random programs on two engines: they agree; where they do not, the program is cut down to what it needs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from gradverify.conformance import machine
from gradverify.conformance.engines import find
from gradverify.conformance.machine import Pair, Step, propose, replay, search
from gradverify.conformance.moves import MOVES
from gradverify.conformance.stateful import Diverged, state_machine

from .broken import BROKEN

ENGINE = find("engine")
ENOUGH = 20_000


@pytest.fixture
def torch() -> object:
    pytest.importorskip("torch")
    return find("torch")


def _report(found: list[machine.Divergence]) -> str:
    return "\n\n".join("\n".join([str(d), *d.script]) for d in found)


def test_torch_and_the_engine_agree(torch: object) -> None:
    done = search(torch, ENGINE, ENOUGH, seed=1)  # type: ignore[arg-type]
    assert not done.divergences, _report(done.divergences)
    assert done.steps >= ENOUGH


@pytest.mark.slow
def test_torch_and_the_engine_agree_for_long(torch: object, request: pytest.FixtureRequest) -> None:
    if "slow" not in request.config.option.markexpr:
        pytest.skip("minutes: run with -m slow")
    done = search(torch, ENGINE, 1_000_000, seed=2)  # type: ignore[arg-type]
    assert not done.divergences, _report(done.divergences)


ENDS_THE_PROCESS = """
import torch
class Double_(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (ctx.mark_dirty(x), x.mul_(2))[1])
    backward = staticmethod(lambda ctx, g: g * 2)
x, w = torch.tensor([3.0], requires_grad=True), torch.tensor([5.0], requires_grad=True)
y = x * 2.0
x.requires_grad_(False)
Double_.apply(x.add_(w))
y.backward()
"""


def test_what_ends_the_process_still_does(torch: object) -> None:
    """Why random programs mark no former leaf dirty: the leaf's AccumulateGrad is left without its variable, and backward
    through what the leaf was used for before ends in std::terminate. Where this fails, `Pair.ambiguous` can go."""
    done = subprocess.run([sys.executable, "-c", ENDS_THE_PROCESS], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert "get_autograd_meta() on undefined tensor" in done.stderr
    ours = ENDS_THE_PROCESS.replace("import torch", "import gradverify.engine as torch")
    done = subprocess.run([sys.executable, "-c", ours], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("RuntimeError: leaf variable has been moved into the graph interior\n")


def test_an_engine_agrees_with_itself() -> None:
    done = search(ENGINE, ENGINE, 2000)
    assert not done.divergences
    assert done.programs > 50


def test_programs_reach_every_move() -> None:
    """Each move is made, and most of the time without an error: else the machine would test error messages."""
    import random
    import warnings

    warnings.simplefilter("ignore")
    made: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for seed in range(600):
        rng, pair = random.Random(seed), Pair(ENGINE, ENGINE)
        for _ in range(40):
            step = propose(pair, lambda n, rng=rng: int(rng.random() * n))  # type: ignore[misc]
            if step is None:
                continue
            before = len(pair.sessions[0].entries)
            pair.step(step)
            made[step.move] += 1
            failed[step.move] += any(e.error for e in pair.sessions[0].entries[before:])
            if pair.over:
                break
        pair.close()
    assert set(made) == {*MOVES, "end", "forget"}
    assert sum(failed.values()) < 0.35 * sum(made.values())
    assert [m for m in made if failed[m] == made[m]] == []


def test_a_search_is_reproducible() -> None:
    broken = next(b for b in BROKEN if b.name == "overwrites_grad").load()
    a, b = (search(broken, ENGINE, 2000, seed=3) for _ in range(2))
    assert a.steps == b.steps
    assert a.divergences[0].steps == b.divergences[0].steps


def test_a_divergence_is_cut_down() -> None:
    """Two backward passes are what it takes to see that .grad is overwritten: a leaf and twice a backward."""
    broken = next(b for b in BROKEN if b.name == "overwrites_grad").load()
    found = search(broken, ENGINE, 2000).divergences[0]
    assert [s.move for s in found.steps] == ["tensor", *[found.steps[-1].move] * 2]
    for k in range(len(found.steps)):
        again = replay([*found.steps[:k], *found.steps[k + 1 :]], broken, ENGINE)
        assert again is None or again.what != found.what


def test_steps_with_missing_arguments_are_left_out() -> None:
    pair = Pair(ENGINE, ENGINE)
    assert pair.step(Step(0, "neg", (7,))) is None
    assert pair.step(Step(0, "end")) is None
    assert pair.steps == []


def test_hypothesis_drives_the_machine(torch: object) -> None:
    run_state_machine_as_test(
        state_machine(torch, ENGINE),  # type: ignore[arg-type]
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, database=None,
                          suppress_health_check=list(HealthCheck)),
    )  # fmt: skip


def test_hypothesis_shrinks_to_a_short_script() -> None:
    broken = next(b for b in BROKEN if b.name == "overwrites_grad").load()
    with pytest.raises(Diverged) as caught:
        run_state_machine_as_test(
            state_machine(broken, ENGINE, ("tensor", "mul", "sum", "clone", "hook", "backward", "drop_grad")),
            settings=settings(max_examples=200, stateful_step_count=12, deadline=None, derandomize=True, database=None,
                              suppress_health_check=list(HealthCheck)),
        )  # fmt: skip
    assert caught.value.found.what == "grad"
    assert len(caught.value.found.script) <= 8
