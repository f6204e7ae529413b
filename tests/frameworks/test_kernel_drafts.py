# ruff: noqa: E402 - imports after it was found out whether Triton is there
"""`gradverify kernel FILE`: what it drafts, that the draft runs, and what it says where it cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import triton
from click.testing import CliRunner, Result

if not triton.knobs.runtime.interpret:
    pytest.skip("TRITON_INTERPRET was not set before Triton was imported", allow_module_level=True)

from gradverify.cli import Exit, main
from gradverify.frameworks.triton import calls, reading
from gradverify.frameworks.triton.interpreter import mended

IMPORTS = "import torch\nimport triton\nimport triton.language as tl\n"

KERNELS = """
@triton.jit
def scale(x, y, n, by, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n, other=0.0) * by, mask=at < n)


@triton.jit
def scale_backward(g, dx, n, by, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(dx + at, tl.load(g + at, mask=at < n, other=0.0) * by, mask=at < n)
"""

FUNCTION = """
class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, by=3.0):
        ctx.by = by
        y = torch.empty(x.shape)
        scale[(triton.cdiv(x.numel(), 4),)](x.contiguous(), y, x.numel(), by, 4)
        return y

    @staticmethod
    def backward(ctx, g):
        dx = torch.empty(g.shape)
        scale_backward[(triton.cdiv(g.numel(), 4),)](g.contiguous(), dx, g.numel(), ctx.by, 4)
        return dx, None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def kernel(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["kernel", *map(str, args)])


def save(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def passes(file: Path) -> None:
    """Run the tests of a draft, quickly."""
    scope: dict[str, object] = {"__name__": "drafted"}
    text = file.read_text()
    assert text.count(", order=1)")
    exec(compile(text.replace(", order=1)", ', order=1, effort="quick")'), str(file), "exec"), scope)
    tests = [f for n, f in scope.items() if n.startswith("test_")]
    assert tests
    for test in tests:
        test()  # type: ignore[operator]


# ---- what is drafted ----------------------------------------------------------------------------------------------------


def test_a_draft_runs(folder: Path) -> None:
    save(folder, "scaling_a.py", IMPORTS + KERNELS + FUNCTION)
    result = kernel("scaling_a.py", "--write", "drafted.py")
    assert result.exit_code == Exit.OK, result.output
    text = (folder / "drafted.py").read_text()
    assert '"""Forward: scale; backward: scale_backward."""' in text
    assert "x = draw(3, 6)" in text
    assert "TODO" not in text
    assert "import pytest" not in text
    assert "gradverify.check(Scale.apply, x, by, order=1)" in text
    assert "Scale(draw(3, 6), 3.0)" in result.stderr
    passes(folder / "drafted.py")


def test_a_function_with_several_kernels(folder: Path) -> None:
    """Two in the forward pass, of which one is launched by a helper; the third by nothing; the fourth by a kernel."""
    more = """
@triton.jit
def twice(v):
    return v + v


@triton.jit
def add(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(y + at, mask=at < n, other=0.0) + twice(tl.load(x + at, mask=at < n, other=0.0))
    tl.store(y + at, v, mask=at < n)


@triton.jit
def forgotten(x):
    tl.store(x, 0.0)


def run(x, by):
    y = torch.empty(x.shape)
    scale[(triton.cdiv(x.numel(), 4),)](x, y, x.numel(), by, 4)
    add[(triton.cdiv(x.numel(), 4),)](x, y, x.numel(), 4)
    return y


class Several(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, by: float):
        ctx.by = by
        return run(x.contiguous(), by)

    @staticmethod
    def backward(ctx, g):
        return run(g.contiguous(), ctx.by), None
"""
    save(folder, "scaling_b.py", IMPORTS + KERNELS + FUNCTION + more)
    result = kernel("scaling_b.py", "--write", "drafted.py")
    text = (folder / "drafted.py").read_text()
    assert '"""Forward: scale, add; backward: scale, add."""' in text
    assert "def test_scale()" in text
    assert "by = 1.0 is a guess" in text
    assert "forgotten is launched by no autograd.Function" in result.stderr
    assert "twice is launched" not in result.stderr
    passes(folder / "drafted.py")


def test_kernels_of_another_file_are_found_by_running(folder: Path) -> None:
    """Packages are imported by their names, relative imports included."""
    save(folder, "mypkg_c/__init__.py", "")
    save(folder, "mypkg_c/ops/__init__.py", "")
    save(folder, "mypkg_c/kernels.py", IMPORTS + KERNELS)
    file = save(folder, "mypkg_c/ops/scaling.py", f"{IMPORTS}from ..kernels import scale, scale_backward\n{FUNCTION}")
    result = kernel(file)
    assert result.exit_code == Exit.OK, result.output
    assert "from mypkg_c.ops.scaling import Scale" in result.stdout
    assert "Forward: scale; backward: scale_backward." in result.stdout


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("from triton import jit", "@jit"),
        ("import triton as tr", "@tr.jit"),
        ("import triton", "@triton.jit(debug=True)"),
    ],
)
def test_other_names_of_the_decorator(folder: Path, imports: str, decorator: str) -> None:
    file = save(folder, "names_d.py", f"{imports}\n\n{decorator}\ndef k(x):\n    pass\n")
    assert reading.read(file).kernels == {"k": 4}


def test_a_kernel_that_is_no_decorated_function(folder: Path) -> None:
    file = save(folder, "names_e.py", "import triton\n\ndef k(x):\n    pass\n\nfast = triton.jit(k)\n")
    assert list(reading.read(file).kernels) == ["fast"]


@pytest.mark.parametrize("text", ["from numba import jit\n@jit\ndef k(x): ...", "import jax\n@jax.jit\ndef k(x): ..."])
def test_a_jit_of_somebody_else_is_no_kernel(folder: Path, text: str) -> None:
    assert not reading.read(save(folder, "names_f.py", text)).kernels


def test_a_recorded_call(folder: Path) -> None:
    """What nothing tells is taken from a program: shapes, dtypes, the values of integers, what is no tensor."""
    function = FUNCTION.replace("x, by=3.0", "x, table, mode").replace(
        "ctx.by = by", "by = ctx.by = [2.0, 3.0][int(table[mode['k']])]"
    )
    save(folder, "scaling_g.py", IMPORTS + KERNELS + function.replace("return dx, None", "return dx, None, None"))
    call = "Scale.apply(torch.randn(2, 5).requires_grad_(), torch.tensor([0, 1]), {}).sum().backward()"
    program = save(folder, "program.py", f"import torch\nfrom scaling_g import Scale\n{call.format(repr({'k': 1}))}")
    result = kernel("scaling_g.py", "--program", program)
    assert "mode: a dict was recorded, which no text stands for" in result.stderr
    save(folder, "scaling_g2.py", (folder / "scaling_g.py").read_text().replace("mode['k']", "mode"))
    program.write_text(f"import torch\nfrom scaling_g2 import Scale\n{call.format('1')}")
    result = kernel("scaling_g2.py", "--program", program, "--write", "drafted.py")
    assert result.exit_code == Exit.OK, result.output
    assert "no call" not in result.stderr
    text = (folder / "drafted.py").read_text()
    assert "x = draw(2, 5)\n    table = torch.tensor([0, 1], dtype=torch.int64)\n    mode = 1\n" in text
    passes(folder / "drafted.py")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 3), "draw(2, 3).detach()"),
        (torch.zeros(2, dtype=torch.bfloat16).requires_grad_(), "draw(2, dtype=torch.bfloat16)"),
        (torch.zeros((), requires_grad=True), "draw(1)[0].detach().requires_grad_()"),
        (torch.zeros((), dtype=torch.float64), "draw(1, dtype=torch.float64)[0].detach()"),
        (torch.tensor([True, False]), "torch.tensor([True, False], dtype=torch.bool)"),
        (torch.arange(100), "torch.randint(0, 100, (100,), dtype=torch.int64)"),
        (torch.zeros(2, dtype=torch.complex64), ""),
        (None, "None"), ("mean", "'mean'"), (object(), ""), ([1], ""),
    ],
)  # fmt: skip
def test_texts_of_recorded_arguments(value: object, text: str) -> None:
    """A text comes to what was recorded: shape, dtype, what requires grad."""
    assert calls.text_of(value) == text
    if isinstance(value, torch.Tensor) and text:
        made = calls.value_of(text)
        assert (made.shape, made.dtype, made.requires_grad) == (value.shape, value.dtype, value.requires_grad)


def test_a_backward_pass_that_is_marked_is_asked_as_it_is(folder: Path) -> None:
    marked = FUNCTION.replace("def backward", "@torch.autograd.function.once_differentiable\n    def backward")
    save(folder, "scaling_b2.py", IMPORTS + KERNELS + marked)
    assert "gradverify.check(Scale.apply, x, by)\n" in kernel("scaling_b2.py").stdout


# ---- what is said -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "has no function with the decorator triton.jit, and no autograd.Function"),
        (IMPORTS + "def f(:\n", "bad_h.py:4: invalid syntax"),
        (
            IMPORTS + KERNELS + "raise RuntimeError('no driver')\n",
            "cannot be imported as bad_h: RuntimeError: no driver",
        ),
        (IMPORTS + KERNELS + "raise SystemExit(3)\n", "cannot be imported as bad_h: SystemExit: 3"),
        (IMPORTS + KERNELS + "import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
    ],
    ids=["no kernels", "syntax", "raises", "exits", "missing import"],
)
def test_a_file_that_cannot_be_drafted_for(folder: Path, text: str, said: str) -> None:
    save(folder, "bad_h.py", text)
    result = kernel("bad_h.py")
    assert result.exit_code == Exit.USAGE
    assert said in result.output
    assert "Traceback" not in result.output


def test_bytes_are_no_text(folder: Path) -> None:
    (folder / "bytes_i.py").write_bytes(b"\xff\xfe\x00")
    result = kernel("bytes_i.py")
    assert result.exit_code == Exit.USAGE
    assert "is no Python text" in result.output


def test_another_module_of_that_name(folder: Path) -> None:
    """`json.py`: what is imported as that is another file."""
    save(folder, "json.py", IMPORTS + KERNELS)
    result = kernel("json.py")
    assert result.exit_code == Exit.USAGE
    assert "say --module" in result.output


def test_a_file_that_exists_is_not_written_over(folder: Path) -> None:
    save(folder, "scaling_j.py", IMPORTS + KERNELS + FUNCTION)
    save(folder, "mine.py", "mine")
    assert kernel("scaling_j.py", "--write", "mine.py").exit_code == Exit.USAGE
    assert (folder / "mine.py").read_text() == "mine"


def test_an_argument_that_nothing_tells(folder: Path) -> None:
    """It is said, and the test is skipped: no arguments are made up."""
    function = FUNCTION.replace("x, by=3.0", "x, settings").replace("ctx.by = by", "by = ctx.by = settings.by")
    save(folder, "scaling_k.py", IMPORTS + KERNELS + function)
    result = kernel("scaling_k.py", "--write", "drafted.py")
    assert result.exit_code == Exit.OK
    assert "settings: neither an annotation, nor a default, nor how it is used tells what it is" in result.stderr
    assert "no call of it runs: AttributeError: " in result.stderr
    text = (folder / "drafted.py").read_text()
    assert "settings = ..." in text
    assert "@pytest.mark.skip" in text


def test_any_number_of_arguments(folder: Path) -> None:
    function = FUNCTION.replace("x, by=3.0", "x, *rest").replace("ctx.by = by", "by = ctx.by = rest[0]")
    save(folder, "scaling_l.py", IMPORTS + KERNELS + function)
    result = kernel("scaling_l.py")
    assert "*rest: how many there are, and what they are" in result.stderr
    assert "no call of it runs: IndexError" in result.stderr


def test_a_function_that_launches_no_kernel(folder: Path) -> None:
    function = "class Twice(torch.autograd.Function):\n    forward = staticmethod(lambda ctx, x: x + x)\n"
    plain = """
class Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sum()

    @staticmethod
    def backward(ctx, g):
        return g.expand(3, 6)
"""
    save(folder, "scaling_m.py", IMPORTS + KERNELS + function + plain)
    result = kernel("scaling_m.py")
    assert "Plain(draw(3, 6)) launches no kernel of Triton" in result.stderr
    assert "scale is launched by no autograd.Function of this file" in result.stderr


def test_a_function_that_is_made_inside_another(folder: Path) -> None:
    inner = "\n".join("    " + line for line in FUNCTION.splitlines())
    save(folder, "scaling_n.py", f"{IMPORTS}{KERNELS}\ndef make():\n{inner}\n    return Scale\n")
    result = kernel("scaling_n.py")
    assert result.exit_code == Exit.OK
    assert "has no Scale: it is made inside something else" in result.stderr
    assert "import Scale" not in result.stdout


def test_a_default_that_is_a_name(folder: Path) -> None:
    function = FUNCTION.replace("by=3.0", "by=BY")
    save(folder, "scaling_o.py", f"{IMPORTS}BY = 2.5\n{KERNELS}{function}")
    assert "by = 2.5" in kernel("scaling_o.py").stdout


def test_a_program_that_calls_nothing(folder: Path) -> None:
    save(folder, "scaling_p.py", IMPORTS + KERNELS + FUNCTION)
    program = save(folder, "program.py", "import scaling_p\n")
    result = kernel("scaling_p.py", "--program", program)
    assert "makes no call of it that is differentiated" in result.stderr
    assert "x = draw(3, 6)" in result.stdout
    program.write_text("raise SystemExit(4)\n")
    result = kernel("scaling_p.py", "--program", program)
    assert result.exit_code == Exit.USAGE
    assert "ended with exit code 4" in result.output


def test_callers_tell_what_the_forward_pass_does_not(folder: Path) -> None:
    """The annotations of the function around `apply`."""
    function = FUNCTION.replace("x, by=3.0", "x, by, flag").replace("return dx, None", "return dx, None, None")
    caller = "\n\ndef scaled(x: torch.Tensor, factor: float = 4.0):\n    return Scale.apply(x, factor, True)\n"
    found = reading.read(save(folder, "scaling_q.py", IMPORTS + KERNELS + function + caller)).functions[0]
    assert [(a.name, a.kind, a.text) for a in found.arguments][1:] == [
        ("by", "literal", "4.0"),
        ("flag", "literal", "True"),
    ]


def test_trial_calls_leave_the_interpreter_as_it_was(folder: Path) -> None:
    from triton.runtime import interpreter as ti

    before = dict(vars(ti.GridExecutor))
    save(folder, "scaling_r.py", IMPORTS + KERNELS + FUNCTION.replace("x.numel(), by, 4)", "x.numel(), by, 'four')"))
    assert "no call of it runs" in kernel("scaling_r.py").stderr
    assert dict(vars(ti.GridExecutor)) == before


# ---- what the interpreter must do for foreign files ---------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["range(2)", "tl.range(2)", "tl.range(0, 2, num_stages=2)", "range(0, 2, 1)"])
def test_the_index_of_a_loop_is_cast(folder: Path, loop: str) -> None:
    """FLA's kernels write `i_t.to(tl.int64)`, as the compiler lets them."""
    body = f"""
@triton.jit
def looped(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    for i in {loop}:
        j = (i * 2 + 1).to(tl.int64) + i
        tl.store(y + i * n + at, tl.load(x + at, mask=at < n, other=0.0) * j, mask=at < n)
"""
    file = save(folder, "looped_s.py", IMPORTS + body)
    sys.path.insert(0, str(file.parent))
    import importlib

    module = importlib.import_module("looped_s")
    try:
        x, y = torch.randn(3), torch.empty(2, 3)
        with mended():
            module.looped[(1,)](x, y, 3, 4)
        assert torch.equal(y, torch.stack([x, 4 * x]))
        assert "range" not in vars(module)
    finally:
        del sys.modules["looped_s"]
