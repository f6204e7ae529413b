"""PyTorch's own test files, run with the name `torch` bound to the engine.

    python bench/torch_tests.py test_autograd.py [more files] [--only PATTERN] [--failures]

The files are given by path (PyTorch's `test/` folder); none is part of this project. A test counts where PyTorch itself
passes it under the same harness: what needs PyTorch's internals, a GPU or another version drops out. What the files import from
`torch.testing._internal` is stood in for here, for both modules alike. `--failures` lists each failure with its reason.
"""

# ruff: noqa: PT009, PT027, E501 (PyTorch's tests are unittest's; the table of names is as long as it is)

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import inspect
import io
import itertools
import re
import signal
import sys
import types
import unittest
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from .torch_private import names_of
else:
    from torch_private import names_of

SECONDS, WALL = 10, 90
"""How long one test may take: of the processor, and by the clock (for one that waits)."""

OUTSIDE = {
    "the dispatcher, and operators registered with it": r"DispatchMode|__torch_dispatch__|__torch_function__|_make_(wrapper_)?"
    r"subclass|selective_checkpoint|_library|torch\.library|torch\.ops\.|torch\._test_|_view_func|CounterMode",
    "the profiler": r"profiler?\(|kineto|record_function|emit_(itt|nvtx)|EventList",
    "sparse and nested layouts": r"sparse|nested\.|as_nested",
    "several devices": r"DataParallel",
    "TorchScript, C++ extensions and C++ threads": r"torch\.jit|load_inline|multithreading_enabled|cached_tensor",
}
"""Of what the engine has nothing, by reason; a test whose own source names it is counted apart, passed or not."""

TOLERANCES = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
              "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7)}  # fmt: skip
"""(rtol, atol) by dtype, from the documentation of torch.testing.assert_close."""


def is_internal(name: str) -> bool:
    """Is it something that PyTorch keeps to itself? Then both modules do without."""
    return "testing._internal" in name or name.startswith(("torch._", "torch.backends", "functorch.", "common_utils"))


class Absent:
    """A name that the module under test does not have. As a decorator it changes nothing; any other use in a test fails."""

    in_test = False

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        test = args[0] if len(args) == 1 and not kwargs else None
        if (inspect.isfunction(test) and test.__name__ != "<lambda>") or inspect.isclass(test):
            return test
        if is_internal(self._name) or not Absent.in_test:
            return self  # skipIfX("because"): it is not
        raise AttributeError(f"absent: {self._name}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._name}.{name}")

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        return (AnyBase,)

    def __bool__(self) -> bool:
        return False

    def __add__(self, other: Any) -> Any:
        return self

    __radd__ = __add__

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> Any:
        raise AttributeError(f"absent: {self._name}")

    def __exit__(self, *exc: object) -> None:
        pass


class AnyBase:
    """Stands for a base class that is absent: it takes any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class Face:
    """A module, with the stand-ins for private names, and an Absent for every other name that it lacks."""

    def __init__(self, module: Any, name: str, private: dict[str, Any]) -> None:
        self.__dict__.update(_module=module, _name=name, _private=private)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__version__",):
            return getattr(self._module, name)
        full = f"{self._name}.{name}"
        if full in self._private:
            return self._private[full]
        found = getattr(self._module, name, None) if hasattr(self._module, name) else Absent(full)
        if isinstance(found, Absent) and any(known.startswith(f"{full}.") for known in self._private):
            found = types.ModuleType(full)
        return Face(found, full, self._private) if isinstance(found, types.ModuleType) else found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)


# ---- what stands in for torch.testing._internal -----------------------------------------------------------------------


def as_array(x: Any) -> Any:
    x = x.detach()
    for lazy in ("resolve_conj", "resolve_neg"):
        x = getattr(x, lazy)() if hasattr(x, lazy) else x
    return np.array(x.cpu().float().numpy() if str(x.dtype) == "torch.bfloat16" else x.cpu().numpy())


class Case(unittest.TestCase):
    """TestCase of PyTorch's common_utils, as far as tests of values go."""

    torch: Any
    precision = 0.0
    rel_tol = 0.0
    maxDiff = None

    def setUp(self) -> None:
        self.torch.manual_seed(1234)
        np.random.seed(1234)

    def assertEqual(self, x: Any, y: Any, msg: Any = None, *, atol: Any = None, rtol: Any = None, equal_nan: bool = True,  # type: ignore[override]
                    exact_dtype: bool = True, **_: Any) -> None:  # fmt: skip
        tensor = self.torch.Tensor
        if isinstance(x, tensor) or isinstance(y, tensor):
            if isinstance(x, tensor) and isinstance(y, tensor) and exact_dtype and x.dtype != y.dtype:
                raise AssertionError(f"dtypes {x.dtype} and {y.dtype}; {msg}")
            kinds = [str(t.dtype).removeprefix("torch.") for t in (x, y) if isinstance(t, tensor)]
            a, b = (as_array(t) if isinstance(t, tensor) else np.asarray(t) for t in (x, y))
            self._close(a, b, kinds[0], atol, rtol, msg)
        elif isinstance(x, (list, tuple)) and isinstance(y, (list, tuple)):
            super().assertEqual(len(x), len(y), msg)
            for a, b in zip(x, y):
                self.assertEqual(a, b, msg, atol=atol, rtol=rtol, exact_dtype=exact_dtype)
        elif isinstance(x, dict) and isinstance(y, dict):
            super().assertEqual(set(x), set(y), msg)
            for k in x:
                self.assertEqual(x[k], y[k], msg, atol=atol, rtol=rtol, exact_dtype=exact_dtype)
        elif isinstance(x, (float, complex)) or isinstance(y, (float, complex)):
            self._close(np.asarray(x), np.asarray(y), "float64", atol, rtol, msg)
        else:
            super().assertEqual(x, y, msg)

    def _close(self, a: Any, b: Any, kind: str, atol: Any, rtol: Any, msg: Any) -> None:
        r, t = TOLERANCES.get(kind, (0.0, 0.0))
        r, t = (r if rtol is None else rtol), (t if atol is None else atol)
        t = max(t, self.precision or 0.0)
        if a.shape != b.shape and a.size and b.size and b.ndim and a.ndim:
            raise AssertionError(f"shapes {a.shape} and {b.shape}; {msg}")
        np.testing.assert_allclose(a, b, rtol=r, atol=t, err_msg=str(msg), equal_nan=True)

    def assertNotEqual(self, x: Any, y: Any, msg: Any = None, *, atol: Any = None, rtol: Any = None, **_: Any) -> None:  # type: ignore[override]
        with self.assertRaises(AssertionError, msg=msg):
            self.assertEqual(x, y, msg, atol=atol, rtol=rtol)

    def assertExpected(self, *args: Any, **kwargs: Any) -> None:
        raise unittest.SkipTest("compares with a file")

    def assertExpectedInline(self, actual: str, expect: str, skip: int = 0) -> None:
        super().assertEqual(actual, inspect.cleandoc(expect) if "\n" in expect else expect)

    def assertExpectedRaisesInline(self, kind: Any, run: Any, expect: str, *args: Any, **kwargs: Any) -> None:
        with self.assertRaises(kind):
            run(*args, **kwargs)

    @contextlib.contextmanager
    def assertWarnsOnceRegex(self, category: Any, regex: str = "") -> Iterator[None]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield
        if not any(re.search(regex, str(w.message)) for w in seen):
            raise AssertionError(f"no warning {regex}")

    assertAtenOp = assertExpected


class Subtest:
    def __init__(self, arg_values: Any, name: str = "", decorators: Any = ()) -> None:
        self.arg_values = arg_values


def parametrize(names: str, values: Any, name_fn: Any = None) -> Callable[[Any], Any]:
    keys = [n.strip() for n in names.split(",")]

    def mark(test: Any) -> Any:
        test.choices = [*getattr(test, "choices", []), (keys, list(values))]
        return test

    return mark


def expand(cls: type) -> type:
    """A test for each choice of its parameters."""
    for name, test in list(vars(cls).items()):
        if not hasattr(test, "choices"):
            continue
        delattr(cls, name)
        for k, picks in enumerate(itertools.product(*(values for _, values in test.choices))):
            given: dict[str, Any] = {}
            for (keys, _), pick in zip(test.choices, picks):
                value = pick.arg_values if isinstance(pick, Subtest) else pick
                given |= zip(keys, value if len(keys) > 1 else [value])  # type: ignore[arg-type]
            setattr(cls, f"{name}_{k}", _with(test, given))
    return cls


def _with(test: Any, given: dict[str, Any]) -> Any:
    return lambda self, *args, **kwargs: test(self, *args, **given, **kwargs)


def on_cpu(cls: type, scope: dict[str, Any], **_: Any) -> None:
    """instantiate_device_type_tests, for the CPU alone."""
    expand(cls)
    made = type(f"{cls.__name__}CPU", (cls,), {"__module__": cls.__module__})
    for name, test in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("test"):
            continue
        wants_dtype = getattr(test, "dtypes", None)
        setattr(made, name, None)
        for k, dtype in enumerate(wants_dtype or [None]):
            extra = {} if dtype is None else {"dtype": dtype}
            setattr(made, f"{name}_{k}" if wants_dtype else name, _with(test, {"device": "cpu"} | extra))
        if wants_dtype:
            delattr(made, name)
    scope[made.__name__] = made
    scope.pop(cls.__name__, None)


def with_dtypes(*kinds: Any, **_: Any) -> Callable[[Any], Any]:
    def mark(test: Any) -> Any:
        test.dtypes = list(kinds[0]) if len(kinds) == 1 and isinstance(kinds[0], (list, tuple)) else list(kinds)
        return test

    return mark


def skip(*args: Any, **kwargs: Any) -> Any:
    """A decorator that skips, with or without arguments."""
    if len(args) == 1 and inspect.isfunction(args[0]):
        return unittest.skip("for another device")(args[0])
    return lambda test: unittest.skip("for another device")(test)


def helpers(torch: Any) -> dict[str, Any]:
    """The names that the files import from torch.testing and its internals."""

    def make_tensor(*shape: Any, dtype: Any, device: Any = "cpu", low: Any = None, high: Any = None,
                    requires_grad: bool = False, **_: Any) -> Any:  # fmt: skip
        sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        data = np.random.uniform(-9 if low is None else low, 9 if high is None else high, sizes)
        return torch.tensor(data).to(dtype).requires_grad_(requires_grad)

    def gradcheck(f: Any, inputs: Any, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  raise_exception: bool = True, **_: Any) -> bool:  # fmt: skip
        """Central differences against VJPs with unit cotangents, entry by entry."""
        given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        ends = [x for x in given if isinstance(x, torch.Tensor) and x.requires_grad]

        def outs() -> list[Any]:
            y = f(*given)
            return [v for v in (y if isinstance(y, (tuple, list)) else [y]) if v.requires_grad]

        for k, y in enumerate(outs()):
            rows = [
                torch.autograd.grad(y.reshape(-1)[j], ends, retain_graph=True, allow_unused=True)
                for j in range(y.numel())
            ]
            for x, column in zip(ends, zip(*rows)):
                grads = np.stack([np.zeros(x.numel()) if g is None else as_array(g).ravel() for g in column])
                entries = x.detach().numpy().reshape(-1)
                if entries.dtype.kind == "c" or not np.shares_memory(entries, x.detach().numpy()):
                    continue
                for i in range(x.numel()):
                    old = entries[i]
                    entries[i] = old + eps
                    high = as_array(outs()[k]).ravel()
                    entries[i] = old - eps
                    low = as_array(outs()[k]).ravel()
                    entries[i] = old
                    if not np.allclose(grads[:, i], (high - low) / (2 * eps), rtol, atol):
                        if raise_exception:
                            raise RuntimeError("Jacobian mismatch")
                        return False
        return True

    def gradgradcheck(f: Any, inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
        given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        options = {k: v for k, v in options.items() if k in ("eps", "atol", "rtol", "raise_exception")}

        def first(*xs: Any) -> Any:
            y = f(*xs)
            ys = [v for v in (y if isinstance(y, (tuple, list)) else [y]) if v.requires_grad]
            ends = [x for x in xs if isinstance(x, torch.Tensor) and x.requires_grad]
            found = torch.autograd.grad(
                [(v * v.detach().cos()).sum() for v in ys], ends, create_graph=True, allow_unused=True
            )
            return tuple(g for g in found if g is not None and g.requires_grad)

        return gradcheck(first, given, **options)

    @contextlib.contextmanager
    def nothing(*args: Any, **kwargs: Any) -> Iterator[None]:
        yield

    floats = lambda *more: (torch.float32, torch.float64)
    same = lambda *args, **_: args[0] if args and inspect.isfunction(args[0]) else lambda test: test
    case = type("TestCase", (Case,), {"torch": torch})
    return {
        "TestCase": case, "NNTestCase": case, "run_tests": lambda *a, **k: None, "parametrize": parametrize, "subtest": Subtest,
        "instantiate_parametrized_tests": expand, "instantiate_device_type_tests": on_cpu, "dtypes": with_dtypes,
        "make_tensor": make_tensor, "gradcheck": gradcheck, "gradgradcheck": gradgradcheck, "onlyCUDA": skip, "slowTest": skip,
        "dtypesIfCUDA": lambda *a, **k: same, "onlyCPU": same, "TEST_CUDA": False, "TEST_MULTIGPU": False, "TEST_CUDNN": False,
        "IS_WINDOWS": False, "IS_MACOS": False, "TEST_NUMPY": True, "TEST_SCIPY": False, "floating_types": floats,
        "floating_types_and": floats, "get_all_fp_dtypes": floats, "skipIfNoLapack": same, "freeze_rng_state": nothing,
        "set_warn_always_context": nothing, "disable_gc": nothing, "tf32_off": same, "tf32_on_and_off": lambda *a, **k: same,
        "with_tf32_off": same, "default_tensor_type": nothing, "load_tests": None, "TEST_WITH_TORCHDYNAMO": False,
    }  # fmt: skip


# ---- running a file ---------------------------------------------------------------------------------------------------


def load(path: Path, torch: Any) -> dict[str, Any]:
    """The file's names, with `torch` bound to the module."""
    private = {} if torch.__name__ == "torch" else names_of(torch)
    face, stand_ins = Face(torch, "torch", private), helpers(torch)

    def find(name: str) -> Any:
        found: Any = Absent(name) if is_internal(name) else face
        for part in name.split(".")[1:] if found is face else ():
            found = getattr(found, part)
        return found

    def load_module(name: str, scope: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        top = name.partition(".")[0]
        if top in ("functorch", "torchvision", "common_utils", "autograd", "jit") and level == 0:
            base = find("torch.func") if name == "functorch" else Absent(name)
            return (
                types.SimpleNamespace(**{n: stand_ins.get(n, getattr(base, n)) for n in wanted or ()})
                if wanted
                else base
            )
        if top != "torch":
            return builtins.__import__(name, scope, local, wanted, level)
        if not wanted:
            return face
        base = find(name)
        inside = ".testing" in name or is_internal(name)
        return types.SimpleNamespace(**{
            n: stand_ins[n] if inside and n in stand_ins else getattr(base, n) for n in wanted if n != "*"
        })  # fmt: skip

    scope: dict[str, Any] = {
        "__name__": f"{path.stem}_{torch.__name__.replace('.', '_')}", "__file__": str(path),
        "__builtins__": vars(builtins) | {"__import__": load_module},
    }  # fmt: skip
    sys.modules[scope["__name__"]] = types.ModuleType(scope["__name__"])
    vars(sys.modules[scope["__name__"]]).update(scope)
    scope = vars(sys.modules[scope["__name__"]])
    for statement in ast.parse(path.read_text()).body:
        # What makes tests from lists that PyTorch keeps to itself cannot run, in either module.
        with contextlib.suppress(Exception):
            exec(compile(ast.Module([statement], []), str(path), "exec"), scope)
    return scope


def forget_global_hooks() -> None:
    """What PyTorch's tests do in the end through names that PyTorch keeps to itself."""
    from gradverify.engine.nn.hooks import EVERYWHERE

    for kind in EVERYWHERE.values():
        kind.hooks.clear()


class TooLong(BaseException):
    pass


def _stop(*_: Any) -> None:
    raise TooLong


def _limit(cpu: float, wall: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu)
    signal.setitimer(signal.ITIMER_REAL, wall)


def run(path: Path, torch: Any, only: str, names: set[str] | None = None) -> dict[str, str]:
    """Test -> "" where it passes, else the reason."""
    results: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scope = load(path, torch)
        for clock in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(clock, _stop)
        for cls in [
            v
            for v in scope.values()
            if isinstance(v, type) and issubclass(v, unittest.TestCase) and v.__module__ == scope["__name__"]
        ]:
            for name in unittest.defaultTestLoader.getTestCaseNames(cls):
                key = f"{cls.__name__}.{name}"
                if not re.search(only, key) or (names is not None and key not in names):
                    continue
                results[key] = _run_one(cls(name))
    return results


def outside(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Test -> why it is counted apart, for those that are."""
    text = path.read_text()
    classes = [c for c in ast.parse(text).body if isinstance(c, ast.ClassDef)]
    functions = [(c.name, f) for c in classes for f in c.body if isinstance(f, ast.FunctionDef)]
    sources = {(c, f.name): ast.get_source_segment(text, f) or "" for c, f in functions}
    found = {}
    for full in names:
        cls, _, name = full.partition(".")
        own = sources.get((cls.removesuffix("CPU"), name))
        test = own or sources.get((cls.removesuffix("CPU"), re.sub(r"_\d+$", "", name)), "")
        for reason, words in OUTSIDE.items():
            if re.search(words, test):
                found[full] = reason
                break
    return found


def _run_one(case: unittest.TestCase) -> str:
    outcome = unittest.TestResult()
    _limit(SECONDS, WALL)
    Absent.in_test = True
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            case.run(outcome)
    except TooLong:
        return "too long"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        _limit(0, 0)
        Absent.in_test = False
        forget_global_hooks()
    if outcome.skipped:
        return "skipped"
    failed = outcome.failures + outcome.errors
    return "" if not failed else failed[0][1].strip().splitlines()[-1][:160] or "failed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--failures", action="store_true")
    options = parser.parse_args()
    sys.path[:] = [p for p in sys.path if Path(p) != Path(__file__).parent]  # `bench/triton` is not the library
    import torch

    import gradverify.engine as engine

    torch.set_num_threads(1)
    for path in options.files:
        theirs = run(path, torch, options.only)
        counted = {name for name, reason in theirs.items() if not reason}
        mine = run(path, engine, options.only, counted)
        passed = [name for name in counted if mine.get(name) == ""]
        absent = sum("bsent: " in mine.get(name, "") or "has no attribute" in mine.get(name, "") for name in counted)
        apart = outside(path, counted)
        inside = [name for name in passed if name not in apart]
        print(
            f"{path.name}: {len(passed)} of {len(counted)} ({len(theirs)} tests; {absent} need names that are absent); "
            f"of those about what the engine has: {len(inside)} of {len(counted - apart.keys())}",
            flush=True,
        )
        for reason, n in Counter(apart.values()).most_common():
            print(f"  apart {n:3d} {reason}")
        if options.failures:
            reasons = Counter(
                re.sub(r"0x[0-9a-f]+", "0x", mine.get(n, "not collected")) for n in counted if mine.get(n) != ""
            )
            for name in sorted(counted):
                if mine.get(name) != "":
                    mark = "apart " if name in apart else ""
                    print(f"    {mark}{name}: {mine.get(name, 'not collected')}")
            print("  by reason:")
            for reason, n in reasons.most_common(60):
                print(f"    {n:4d} {reason}")


if __name__ == "__main__":
    main()
