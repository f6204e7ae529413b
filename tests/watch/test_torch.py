"""The patch of PyTorch's door: what runs behind it runs as before, and is recorded."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from gradverify.frameworks.torch.watch import definition_of
from gradverify.watch.imports import watching
from gradverify.watch.record import EAGER, VARIANTS, Limits, Recorder, Why

from . import functions as F
from .helpers import drawn, record, sample_of

captured = F.Sin.apply


def test_names_are_forwards_own() -> None:
    sample = sample_of(lambda: F.Spike.apply(drawn(2, 3), 3.0))
    assert sample.id == "tests.watch.functions.Spike[x=float32(2,3)*]"
    assert sample.fixed == "alpha=3.0"
    assert sample.names == ("x",)
    assert sample.definition.backward.startswith("tests/watch/functions.py:")
    assert sample.definition.importable


def test_the_cotangent_that_arrived() -> None:
    x = drawn(3)
    sample = sample_of(lambda: (F.Sin.apply(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward())
    np.testing.assert_array_equal(sample.cotangents[0][0], [1, 2, 3])
    assert (sample.pulled, sample.create_graph) == (1, False)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, x.detach().cos() * torch.tensor([1.0, 2.0, 3.0]))


def test_an_output_without_a_cotangent() -> None:
    sample = sample_of(lambda: F.Two.apply(drawn(2), drawn(2))[1].sum().backward())
    found = sample.cotangent()
    assert found is not None
    np.testing.assert_array_equal(found[0], [0, 0])
    np.testing.assert_array_equal(found[1], [1, 1])


def test_values_are_those_of_the_call() -> None:
    x = drawn(3)
    kept = x.detach().clone()

    def run() -> None:
        F.Sin.apply(x)
        with torch.no_grad():
            x.zero_()

    torch.testing.assert_close(sample_of(run).args[0].detach(), kept)


def test_apply_stays_what_it_is() -> None:
    with watching(Recorder()):
        assert F.Sin.apply.__name__ == "apply"
        assert F.Sin.apply == F.Sin.apply
        assert pickle.loads(pickle.dumps(F.Sin.apply)) == F.Sin.apply
        assert pickle.loads(pickle.dumps(F.Sin)) is F.Sin
    assert F.Sin.apply.__func__ is torch.autograd.Function.__dict__["apply"].__func__


def test_an_apply_that_was_captured_earlier_is_found() -> None:
    recorder = record(lambda: captured(drawn(3)))
    assert len(recorder.samples) == 1
    assert captured.__func__ is torch.autograd.Function.__dict__["apply"].__func__  # and is put back


def test_no_grad_is_counted_and_not_recorded() -> None:
    def run() -> None:
        with torch.no_grad():
            F.Sin.apply(drawn(3))
        F.Sin.apply(torch.ones(3))

    (entry,) = record(run).entries.values()
    assert (entry.executed, entry.undifferentiated, len(entry.samples)) == (2, 2, 0)


def test_transforms() -> None:
    x = torch.ones(3)

    def run() -> None:
        torch.testing.assert_close(torch.func.grad(lambda t: F.Two.apply(t, x)[0].sum())(x), x)
        torch.func.vmap(torch.func.grad(lambda t: F.Two.apply(t, x[0])[0]))(x)

    (entry,) = record(run).entries.values()
    assert [s.signature for s in entry.samples] == ["x=float32(3)*,y=float32(3)"]
    assert sum(entry.missed.values()) == 1


def test_compiled_functions_run_as_before() -> None:
    def loss(t: torch.Tensor) -> torch.Tensor:
        return F.Sin.apply(t).sum()

    with watching(Recorder()):
        x = drawn(3)
        torch.compile(loss, backend="eager", fullgraph=True)(x).backward()
        assert x.grad is not None
        torch.testing.assert_close(x.grad, x.detach().cos())


def test_a_dispatch_mode_sees_none_of_our_copies() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Counting.calls += 1
            return func(*args, **(kwargs or {}))

    def count() -> int:
        Counting.calls = 0
        with Counting():
            F.Sin.apply(x)
        return Counting.calls

    x = drawn(3)
    before = count()
    with watching(Recorder()):
        assert count() == before


def test_nothing_is_kept_alive() -> None:
    class Big:
        pass

    def run() -> weakref.ref[Any]:
        x = drawn(3)
        out = F.Sin.apply(x)
        node = out.grad_fn
        marker = Big()
        node.marker = marker
        out.sum().backward()
        return weakref.ref(marker)

    with watching(Recorder()):
        alive = run()
        gc.collect()
        assert alive() is None


def test_random_numbers_are_not_drawn() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    with watching(Recorder()):
        F.Sin.apply(drawn(3)).sum().backward()
        torch.testing.assert_close(torch.rand(2), wanted)


def test_what_is_kept_is_bounded() -> None:
    def run() -> None:
        for k in range(1, 60):
            F.Sin.apply(drawn(k))
            F.Spike.apply(drawn(3), float(k))
        F.Sin.apply(drawn(2, 2))
        F.Sin.apply(drawn(2, dtype=torch.float64))

    recorder = record(run, limits=Limits(samples=8))
    by_name = {e.definition.name.split(".")[-1]: e for e in recorder.entries.values()}
    kept = [s.signature for s in by_name["Sin"].samples]
    assert by_name["Sin"].executed == 61
    assert len(kept) == 8
    assert len([s for s in by_name["Sin"].samples if s.seat.why is Why.FIRST]) == 4
    assert len({s.fixed for s in by_name["Spike"].samples if s.seat.why is Why.FIRST}) == VARIANTS
    assert recorder.size == sum(s.size for e in recorder.entries.values() for s in e.samples)


def test_a_new_test_is_looked_at_again() -> None:
    recorder = Recorder()
    with watching(recorder):
        recorder.test = "first"
        for _ in range(100 * EAGER):
            F.Sin.apply(drawn(2))
        recorder.test = "second"
        F.Sin.apply(drawn(2, 2))
    assert [s.first for s in recorder.samples] == ["first", "second"]


def test_objects_that_hold_what_is_never_copied() -> None:
    import threading
    from collections import OrderedDict

    class Holder:
        def __init__(self) -> None:
            self.names, self.math = OrderedDict(a=1, b=2).keys(), torch.nn.functional
            self.values, self.items = {"a": 3}.values(), {"a": drawn(2).detach()}.items()
            self.locks = threading.Lock(), threading.RLock()

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return self.math.relu(x) * len(self.names)

    holder = Holder()
    sample = sample_of(lambda: F.Checkpoint.apply(holder, 1, drawn(3)).sum().backward())
    copied = dict(sample.whole)["run"]
    assert list(copied.names) == ["a", "b"]
    assert list(copied.values) == [3]
    assert copied is not holder
    with pytest.raises(TypeError):
        pickle.dumps(holder.names)


def test_large_calls_are_not_copied() -> None:
    recorder = record(lambda: F.Sin.apply(drawn(1000)), limits=Limits(bytes_each=100))
    (entry,) = recorder.entries.values()
    assert not entry.samples
    assert sum(entry.missed.values()) == 1


def test_pytorchs_own_functions_are_left_out() -> None:
    from torch.utils.checkpoint import checkpoint

    recorder = record(lambda: checkpoint(torch.sin, drawn(3), use_reentrant=True).sum().backward())
    assert not recorder.entries
    assert definition_of(torch.autograd.function.BackwardCFunction) is None  # type: ignore[arg-type]


def test_a_custom_operator() -> None:
    @torch.library.custom_op("gradverify_watch::cube", mutates_args=())
    def cube(x: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * x**3

    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return g * ctx.scale * 3 * ctx.x**2 * 1.5, None

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.x, ctx.scale = inputs

    cube.register_autograd(backward, setup_context=setup)
    sample = sample_of(lambda: cube(drawn(3), 2.0).sum().backward())
    assert sample.id == "gradverify_watch.cube[x=float32(3)*]"
    assert sample.fixed == "scale=2.0"
    from gradverify.watch.judge import judge

    found = judge(sample)
    assert found.intent is not None
    assert found.intent.factor == pytest.approx(1.5)


def test_frameworks_that_are_not_imported_stay_so() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from gradverify.watch.imports import watching\n"
        "from gradverify.watch.record import Recorder\n"
        "import importlib.util\n"
        "r = Recorder()\n"
        "with watching(r):\n"
        "    assert 'torch' not in sys.modules and 'jax' not in sys.modules\n"
        "    importlib.util.find_spec('torch')\n"
        "    import torch\n"
        "    from tests.watch.functions import Sin\n"
        "    Sin.apply(torch.ones(2, requires_grad=True))\n"
        "    assert type(torch.__spec__.loader).__name__ == 'SourceFileLoader'\n"
        "assert len(r.samples) == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
