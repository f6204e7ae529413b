"""Laws of autograd on a case's own graph: right engines keep them, each has a function that breaks it and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.errors import UnknownName, Unsupported
from gradverify.core.verdict import FailKind, Outcome, Reason, Verdict
from gradverify.frameworks.base import Observation
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.registry import find
from gradverify.judge.decide import decide
from gradverify.judge.laws import registry as laws
from gradverify.judge.laws import vjp
from gradverify.judge.laws.autograd import AUTOGRAD_LAWS
from gradverify.judge.laws.uninitialised import poison_memory
from gradverify.spec.document import loads

SPEC = """
gradverify: 1
cases:
  - name: batch
    expr: exp(x * y) + exp(y)
    inputs: {x: {shape: [4, 2]}, y: {shape: [4, 2]}}
  - name: network
    expr: sum(tanh(x @ w + b), axis=1)
    inputs: {x: {shape: [4, 3]}, w: {shape: [3, 2]}, b: {shape: [2]}}
  - name: rows
    expr: exp(x)
    inputs: {x: [1.0, -0.5, 0.25]}
  - name: product
    expr: x * y
    inputs: {x: [1.0, -0.5, 0.25], y: [0.5, 2.0, -1.0]}
  - name: no batch
    expr: cumulative_sum(x, axis=0)
    inputs: {x: [1.0, -0.5, 0.25]}
"""
CASES = {spec.name: spec for spec in loads(SPEC).cases}
LACKING = {"engine": {"duality", "devices"}, "torch": {"devices"}}


def asked(name: str, law: str, dtype: str = "float32") -> Case:
    return replace(CASES[name].case(dtype), invariants=(law,))


def judged(name: str, law: str, table: Any = None, dtype: str = "float32") -> Verdict:
    from gradverify.frameworks.torch.adapter import TorchFramework

    return decide(asked(name, law, dtype), TorchFramework(table=table))


@pytest.mark.parametrize("law", AUTOGRAD_LAWS)
@pytest.mark.parametrize("name", ["batch", "network"])
@pytest.mark.parametrize("subject", ["engine", "torch"])
def test_right_engines_keep_them(subject: str, name: str, law: str) -> None:
    if subject == "torch":
        pytest.importorskip("torch")
    verdict = decide(asked(name, law), find(subject))
    if law in LACKING[subject] and (law != "devices" or verdict.outcome is not Outcome.PASS):
        assert verdict.reason is Reason.SUBJECT
        assert f"{law}: " in verdict.message
    else:
        assert verdict.outcome is Outcome.PASS, verdict.message


@pytest.mark.parametrize("law", ["precision", "permutation", "stacking", "duality"])
def test_a_functional_framework_is_asked_what_applies(law: str) -> None:
    pytest.importorskip("jax")
    verdict = decide(asked("network", law), find("jax"))
    assert verdict.outcome is Outcome.PASS, verdict.message


def test_what_a_framework_lacks_is_said() -> None:
    pytest.importorskip("jax")
    verdict = decide(asked("rows", "accumulation"), find("jax"))
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.SUBJECT)
    assert "accumulation: jax has no tape" in verdict.message


def test_a_graph_without_a_batch_is_not_asked() -> None:
    verdict = decide(asked("no batch", "permutation"), find("engine"))
    assert verdict.reason is Reason.SUBJECT
    assert "not batched" in verdict.message


def test_a_broken_law_counts_more_than_one_that_cannot_be_asked() -> None:
    """The gradient is held to all laws before it is said that one of them did not apply."""
    pytest.importorskip("torch")
    from gradverify.frameworks.torch.adapter import TorchFramework

    case = replace(asked("rows", "devices"), invariants=("devices", "no_grad"))
    verdict = decide(case, TorchFramework(table={"exp": BROKEN["no_grad"][1]()["exp"]}))
    assert verdict.kind is FailKind.LAW
    assert "no_grad is broken" in verdict.message


# ---- each law has a function that breaks it, and whose gradient is right all the same -------------------------------


def _function(**members: Callable[..., Any]) -> Callable[..., Any]:
    """A custom exp; `members` replace forward, backward and jvp."""
    import torch

    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(x, y)
        return y

    usual: dict[str, Any] = {"forward": forward, "backward": lambda ctx, g: g * ctx.saved_tensors[1]}
    made: Any = type("Exp", (torch.autograd.Function,), {n: staticmethod(f) for n, f in (usual | members).items()})
    return made.apply


def _clears(x: Any) -> Any:
    if x.is_leaf:
        x.grad = None
    return x.exp()


def _retains(x: Any) -> Any:
    if x.requires_grad:
        x.retain_grad()
    return x.exp()


def _depends_on_flag(x: Any) -> Any:
    return x.exp() if x.requires_grad else x.exp() + 1


def _records(x: Any) -> Any:
    import torch

    with torch.enable_grad():
        return x.exp()


def _counts(ctx: Any, g: Any) -> Any:
    ctx.calls = getattr(ctx, "calls", 0) + 1
    return g * ctx.saved_tensors[1] * ctx.calls


def _otherwise_when_recorded(ctx: Any, g: Any) -> Any:
    import torch

    return g * ctx.saved_tensors[1] * (2 if torch.is_grad_enabled() else 1)


def _doubles_grad(x: Any) -> Any:
    if x.is_leaf and x.requires_grad:
        x.register_post_accumulate_grad_hook(lambda p: (p.grad.mul_(2), None)[1])
    return x.exp()


def _cycle(ctx: Any, x: Any) -> Any:
    y = x.exp()
    ctx.x, ctx.y = x, y
    return y


def _reads_unwritten(ctx: Any, g: Any) -> Any:
    import torch

    scratch = torch.empty_like(g)
    return g * ctx.saved_tensors[1] + torch.where(scratch == scratch, 0.0, scratch)


def _product(x: Any, y: Any) -> Any:
    import torch

    class Product(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x, y: (ctx.save_for_backward(x, y), x * y)[1])

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            return g * y.detach(), g * x

    return Product.apply(x, y)


def _other_in_float64(ctx: Any, g: Any) -> Any:
    import torch

    return g * ctx.saved_tensors[1] * (1.01 if g.dtype == torch.float64 else 1)


def _needs_its_order(ctx: Any, g: Any) -> Any:
    x, y = ctx.saved_tensors
    return g * y * (1 if x[0] > x[1] else 2)


def _needs_company(ctx: Any, g: Any) -> Any:
    return g * ctx.saved_tensors[1] * (2 if len(g) == 1 else 1)


def _jvp() -> Any:
    """A right backward, a jvp of twice the size."""

    def forward(ctx: Any, x: Any) -> Any:
        ctx.y = x.exp()
        ctx.save_for_backward(x, ctx.y)
        return ctx.y

    return {"exp": _function(forward=forward, jvp=lambda ctx, t: 2 * t * ctx.y)}


def _workspace() -> Any:
    """A view of a buffer that is used again by the next backward pass, for whoever holds the last one's."""
    import torch

    buffers: dict[Any, Any] = {}

    def backward(ctx: Any, g: Any) -> Any:
        buffer = buffers.setdefault((g.shape, g.dtype), torch.empty_like(g, memory_format=torch.contiguous_format))
        buffer.copy_(g * ctx.saved_tensors[1])
        return buffer.view(g.shape)

    return {"exp": _function(backward=backward)}


def _last_call(ctx: Any, x: Any) -> Any:
    """Saves in one memory what all calls save."""
    import torch

    shared = _last_call.__dict__.setdefault((x.shape, x.dtype), torch.empty_like(x))
    ctx.shared = shared.copy_(x.exp())
    return x.exp()


def _forgets_history(ctx: Any, g: Any) -> Any:
    x, _ = ctx.saved_tensors
    again, ctx.again = getattr(ctx, "again", False), True
    return g * (x.detach() if again else x).exp()


BROKEN: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "accumulation": ("rows", lambda: {"exp": _clears}),
    "aliasing": ("rows", _workspace),
    "leaf_only": ("rows", lambda: {"exp": _retains}),
    "detach": ("rows", lambda: {"exp": _depends_on_flag}),
    "frozen": ("rows", lambda: {"exp": _depends_on_flag}),
    "no_grad": ("rows", lambda: {"exp": _records}),
    "retain_graph": ("rows", lambda: {"exp": _function(backward=_counts)}),
    "create_graph": ("rows", lambda: {"exp": _function(backward=_otherwise_when_recorded)}),
    "hooks": ("rows", lambda: {"exp": _doubles_grad}),
    "released": ("rows", lambda: {"exp": _function(forward=_cycle, backward=lambda ctx, g: g * ctx.y)}),
    "uninitialised": ("rows", lambda: {"exp": _function(backward=_reads_unwritten)}),
    "duality": ("rows", _jvp),
    "hessian_symmetry": ("product", lambda: {"multiply": _product}),
    "precision": ("rows", lambda: {"exp": _function(backward=_other_in_float64)}),
    "permutation": ("rows", lambda: {"exp": _function(backward=_needs_its_order)}),
    "stacking": ("rows", lambda: {"exp": _function(backward=_needs_company)}),
    "independence": ("rows", lambda: {"exp": _function(forward=_last_call, backward=lambda ctx, g: g * ctx.shared)}),
    "second_graph": ("rows", lambda: {"exp": _function(backward=_forgets_history)}),
}


def test_every_law_has_its_breaker() -> None:
    assert {*BROKEN, "devices"} == set(AUTOGRAD_LAWS)  # two devices there are not everywhere


@pytest.mark.parametrize("law", BROKEN)
def test_a_breaker_is_found_by_its_law_and_not_without(law: str) -> None:
    pytest.importorskip("torch")
    name, table = BROKEN[law]
    verdict = judged(name, law, table())
    assert (verdict.outcome, verdict.kind) == (Outcome.FAIL, FailKind.LAW), verdict.message
    assert f"{law} is broken ({AUTOGRAD_LAWS[law].doc})" in verdict.message
    if law != "uninitialised":  # what memory holds that nobody wrote is not for us to say
        assert judged(name, "repeat", table()).outcome is Outcome.PASS


# ---- gradients in one memory ----------------------------------------------------------------------------------------


def _plus(backward: Callable[[Any], Any]) -> Callable[..., Any]:
    import torch

    class Plus(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x, y: x + y)  # type: ignore[assignment]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g)

    return Plus.apply


def _pair() -> tuple[Any, Any]:
    import torch

    return tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([0.3, -1.2], [0.7, 2.1]))  # type: ignore[return-value]


def _added_up_wrong(fn: Callable[..., Any]) -> bool:
    """What happens in fact: is .grad after two backward passes twice that after one?"""
    import torch

    leaves = _pair()
    for _ in range(2):
        fn(*leaves).backward(torch.tensor([1.0, 2.0], dtype=torch.float64))
    return any(x.grad.tolist() != [2.0, 4.0] for x in leaves)


@pytest.mark.parametrize(
    ("backward", "wrong"),
    [
        (lambda g: (g.view_as(g), g.view_as(g)), True),
        (lambda g: (g[:], g.expand_as(g)), True),
        (lambda g: (g, g), False),  # as an addition of PyTorch's does: one tensor that two have, and none keeps
        (lambda g: (g, g.view_as(g)), False),
        (lambda g: (g.clone(), g.view_as(g)), False),
    ],
)
def test_gradients_that_share_memory_fail_where_a_second_backward_adds_up_wrong(backward: Any, wrong: bool) -> None:
    pytest.importorskip("torch")
    from gradverify import check

    function = _plus(backward)
    assert _added_up_wrong(function) == wrong
    verdict = check(function, *_pair())
    assert bool(verdict) != wrong
    assert ("aliasing is broken" in verdict.message) == wrong


def test_views_of_pytorchs_own_are_no_fault_of_a_custom_function() -> None:
    pytest.importorskip("torch")
    from gradverify import check

    plus = _plus(lambda g: (g, g))
    function = lambda x, y: plus(x.view(1, 2), y.view(1, 2)).view(2)
    assert _added_up_wrong(function)
    assert check(function, *_pair())


def test_pytorchs_own_views_are_found_by_who_asks_for_it() -> None:
    """pytorch/pytorch#34082: two leaves, each viewed and then added, share one .grad; the engine's do not."""
    pytest.importorskip("torch")
    text = SPEC.replace("expr: x * y", "expr: reshape(x, [3, 1]) + reshape(y, [3, 1])")
    case = next(c for c in loads(text).cases if c.name == "product").case("float64")
    asking = replace(case, invariants=("aliasing",))
    assert "aliasing is broken" in decide(asking, find("torch")).message
    assert decide(asking, find("engine"))
    assert decide(case, find("torch"))


# ---- memory that nobody wrote ---------------------------------------------------------------------------------------


def test_reads_of_unwritten_memory_are_found_every_time() -> None:
    pytest.importorskip("torch")
    table = {"exp": _function(backward=_reads_unwritten)}
    # Where the allocator hands out memory that held NaN, the gradient itself is found out, before any law.
    assert {judged("rows", "uninitialised", table).kind for _ in range(20)} <= {FailKind.LAW, FailKind.NON_FINITE}


def test_poison_ends_with_the_block() -> None:
    torch = pytest.importorskip("torch")
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    with poison_memory(find("torch")):
        assert torch.empty(1000).isnan().all()
    assert before == (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    empty = np.empty
    with poison_memory(EngineFramework()):
        assert np.isnan(np.empty(1000)).all()
        assert np.isnan(np.empty_like(np.ones(3, dtype=np.float32))).all()
        assert (np.empty(3, dtype=np.int64) == np.iinfo(np.int64).max).all()
    assert np.empty is empty


def test_what_cannot_be_poisoned_says_so() -> None:
    class Other(EngineFramework):
        name = "other"

    with pytest.raises(Unsupported, match="other has no switch"), poison_memory(Other()):
        pass


# ---- spec files and third parties -----------------------------------------------------------------------------------


def test_spec_files_name_them() -> None:
    text = SPEC.replace("expr: exp(x)\n", "expr: exp(x)\n    invariants: [accumulation, detach, linearity]\n")
    case = next(c for c in loads(text).cases if c.name == "rows").case("float32")
    assert case.invariants == ("accumulation", "detach", "linearity")
    assert decide(case, find("engine")).outcome is Outcome.PASS


class WrongPullMode(EngineFramework):
    """The engine, wrong in another pull mode."""

    pull_modes = ("another way",)

    def run_vjp_by(self, mode: str, *call: Any) -> Observation:
        seen = self.run_vjp(*call)
        return replace(seen, gradients={n: None if g is None else 2 * g for n, g in seen.gradients.items()})


@pytest.mark.parametrize("name", ["ways", "pull_modes"])
def test_a_law_is_found_by_its_former_name_as_well(name: str) -> None:
    text = SPEC.replace("expr: exp(x)\n", f"expr: exp(x)\n    invariants: [{name}]\n")
    case = next(c for c in loads(text).cases if c.name == "rows").case("float64")
    assert laws.find(name) is laws.find("pull_modes")
    assert decide(case, EngineFramework()).outcome is Outcome.PASS
    verdict = decide(case, WrongPullMode())
    assert verdict.outcome is Outcome.FAIL
    assert "another way: dx" in verdict.message


def test_an_unknown_law_is_named_with_what_comes_close() -> None:
    with pytest.raises(UnknownName, match="accumulation"):
        laws.find("acumulation")


PAGE = (Path(__file__).parent.parent.parent / "docs" / "spec.md").read_text(encoding="utf-8")


def test_the_page_lists_them_all() -> None:
    lacking = [
        law for law in (*vjp.LAWS.values(), *AUTOGRAD_LAWS.values()) if f"| `{law.name}` | {law.doc} |" not in PAGE
    ]
    assert not lacking


THIRD_PARTY = """
from gradverify.judge.laws import CaseLaw, Trial

def _positive(t: Trial) -> str:
    worst = min(float(g.min()) for g in t.first.gradients.values())
    return "" if worst > 0 else f"an entry of the gradient is {worst}"

positive = CaseLaw("positive", "the gradient of an increasing function is positive", _positive)
"""


def test_third_parties_add_theirs_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert THIRD_PARTY.strip() in PAGE
    (tmp_path / "their_laws.py").write_text(THIRD_PARTY)
    info = tmp_path / "their_laws-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-laws\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradverify.invariants]\npositive = their_laws:positive\n")
    monkeypatch.syspath_prepend(tmp_path)
    laws.find.cache_clear()
    case = asked("rows", "positive")
    assert decide(replace(case, cotangent=(np.ones(3, np.float32),)), find("engine")).outcome is Outcome.PASS
    verdict = decide(replace(case, cotangent=(-np.ones(3, np.float32),)), find("engine"))
    assert verdict.kind is FailKind.LAW
    assert "positive is broken (the gradient of an increasing function is positive)" in verdict.message
    laws.find.cache_clear()
