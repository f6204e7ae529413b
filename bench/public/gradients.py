"""Gradients written by hand in public packages, with arguments: nobody here wrote the gradients.

Each is loaded by the file that defines it, without the rest of its package and without what the package depends on.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from .functions import Function, Public

PACKAGES = """
kornia==0.9.0 deepinv==0.5.0 ring_attention_pytorch==0.5.20 reformer_pytorch==1.4.4 revtorch==0.2.4 torch-struct==0.5
compressai==1.2.8 fairscale==0.4.13 qpth==0.0.18 optimum-quanto==0.2.7 pytorch_revgrad==0.2.0 efficientnet_pytorch==0.7.1
geffnet==1.0.2 echoAI==0.1.3 entmax==1.3 iunets==0.1 kymatio==0.3.0 pytorch_optimizer==4.1.0 speechbrain==1.1.2
snntorch==1.0.0 spikingjelly==2.0.0 linformer==0.2.3 monai==1.6.1 brevitas==0.13.4 torchdeq==0.1.0 norse==1.0.0
""".split()

NEEDED = ["einops==0.8.1", "tqdm", "local-attention", "autoray", "beartype", "jaxtyping", "wadler_lindig"]
MISSING = ("torchvision", "hyper_connections", "colt5_attention", "CoLT5_attention", "kornia_rs", "pandas",
           "requests", "matplotlib", "PIL", "cvxpy",
           "torchaudio", "huggingface_hub", "safetensors", "natsort", "h5py", "seaborn")  # fmt: skip
WHOLE = ("deepinv", "brevitas", "monai")  # whose modules ask for the package itself
RNG = np.random.default_rng(11)


class Absent(types.ModuleType):
    """Stands for a package that is not there: whatever is read of it is a class that does nothing."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **options: None, "__call__": lambda self, f: f})


class Finder:
    """Finds MISSING, as `Absent`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in MISSING:
            return importlib.machinery.ModuleSpec(name, self)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def module_of(name: str) -> Any:
    """The module, of which the packages that hold it are entered, but not run."""
    if not any(isinstance(f, Finder) for f in sys.meta_path):
        sys.meta_path.append(Finder())  # type: ignore[arg-type]
    parts = name.split(".")
    for n in range(1, len(parts) if parts[0] not in WHOLE else 1):
        package = ".".join(parts[:n])
        if package not in sys.modules:
            spec = importlib.util.find_spec(package)
            assert spec is not None, f"{package} is not in the folder"
            bare = types.ModuleType(package)
            bare.__path__ = list(spec.submodule_search_locations or ())
            bare.__spec__ = spec
            sys.modules[package] = bare
    return importlib.import_module(name)


def rule(module: str, name: str, *rest: Any, first: bool = False) -> Function:
    """`module.name.apply`, which is given `rest` behind the arguments. With `first`, its first result alone."""

    def call(*args: Any) -> Any:
        found = getattr(module_of(module), name).apply(*args, *(r() if callable(r) else r for r in rest))
        return found[0] if first else found

    call.__name__ = call.__qualname__ = name
    return call


def scalar(value: int) -> Function:
    def make() -> Any:
        import torch

        return torch.tensor(value)

    return make


def real(value: Any) -> Function:
    def make() -> Any:
        import torch

        return torch.tensor(value, dtype=torch.float64)

    return make


def normal(*shape: int, times: float = 1.0) -> np.ndarray:
    return RNG.normal(size=shape) * times


def programme(kind: str) -> Function:
    """A quadratic program of qpth: minimise x'Qx/2 + p'x below G x <= h, with Q = A A' + 1 of a factor A."""

    def call(*args: Any) -> Any:
        import torch

        function = module_of("qpth.qp").QPFunction(verbose=-1)
        none = torch.empty(0, dtype=torch.float64)
        eye = torch.eye(3, dtype=torch.float64)
        if kind == "one":
            p, g, h = args
            return function(eye, p, g, h, none, none)
        (a, p) = args
        g, h = torch.cat([eye, -eye]), torch.full((6,), 9.0, dtype=torch.float64)
        return function(a @ a.T + eye, p, g, h, none, none)

    return call


def reversible(module: str, sequence: str = "") -> Function:
    """Blocks x1 + f(x2), x2 + g(x1), whose backward pass finds the inputs again from the outputs."""

    def call(x: Any) -> Any:
        import torch

        here = module_of(module)
        torch.manual_seed(0)
        width = x.shape[-1] // 2

        def net() -> Any:
            return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Tanh()).double()

        if module == "revtorch.revtorch":
            blocks = torch.nn.ModuleList([here.ReversibleBlock(net(), net(), split_along_dim=2) for _ in range(2)])
            return here._ReversibleModuleFunction.apply(x, blocks, True)
        blocks = [here.ReversibleBlock(net(), net()) for _ in range(2)]
        if module.startswith("linformer"):
            return here._ReversibleFunction.apply(x, torch.nn.ModuleList(blocks), [{}, {}])
        return here._ReversibleFunction.apply(x, torch.nn.ModuleList(blocks), {})

    return call


def attention(causal: bool, clamped: bool, bucket: int, lookback: int | None = None) -> Function:
    def call(q: Any, k: Any, v: Any) -> Any:
        q, k, v = q.float(), k.float(), v.float()  # its mask value is beyond the doubles
        apply = module_of("ring_attention_pytorch.ring_flash_attention").RingFlashAttentionFunction.apply
        return apply(q, k, v, None, causal, bucket, False, False, lookback, 1, clamped, 5.0)

    return call


def masked_attention(q: Any, k: Any, v: Any) -> Any:
    import torch

    apply = module_of("ring_attention_pytorch.ring_flash_attention").RingFlashAttentionFunction.apply
    mask = torch.tensor([[True, True, False, True, True, False]])
    q, k, v = q.float(), k.float(), v.float()
    return apply(q, k, v, mask, False, 4, False, False, None, 1, False, 5.0)


def spline(name: str) -> Function:
    def call(x: Any, coefficients: Any) -> Any:
        import torch

        apply = getattr(module_of("deepinv.models.deal"), name).apply
        low, high = torch.tensor(-1.0, dtype=x.dtype), torch.tensor(1.0, dtype=x.dtype)
        starts = torch.arange(2) * coefficients.shape[1]
        return apply(x, coefficients, low, high, coefficients.shape[1], starts)

    return call


def denoised(streamed: bool) -> Function:
    def call(x: Any, sigma: Any) -> Any:
        import torch

        data = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3).sin()
        rows = data if not streamed else [{"x": data[:2]}, {"x": data[2:]}]
        return module_of("deepinv.models.mmse").MMSEFunction.apply(x, sigma, rows, "cpu", torch.float64, False)

    return call


def focal(x: Any) -> Any:
    import torch

    valid = torch.tensor([[[True, True, False]], [[True, True, True]]]).expand(2, 4, 3)
    target = torch.tensor([[[0, 3, 1]], [[2, 2, 0]]])
    return module_of("kornia.losses.focal")._TargetLogSoftmax.apply(x, target, valid)


def null_space(x: Any) -> Any:
    """The projection on the four vectors: the basis itself is any of the subspace."""
    basis = module_of("kornia.geometry.epipolar.essential")._NullSpaceBasis.apply(x)[0]
    return basis @ basis.mT


def sampled(name: str) -> Function:
    return rule("torch_struct.semirings.sample", name, -1)


def checkpointed(banded: bool) -> Function:
    def call(a: Any, b: Any) -> Any:
        semirings = module_of("torch_struct.semirings.semirings")
        make = module_of("torch_struct.semirings.checkpoint")
        if banded:
            return make.CheckpointShardSemiring(semirings.LogSemiring, max_size=8).matmul(a, b)
        return make.CheckpointSemiring(semirings.LogSemiring).matmul(a, b)

    return call


def cross_entropy(logits: Any) -> Any:
    """fairscale's parallel cross entropy with one process: its collectives are the identity."""
    import torch

    here = module_of("fairscale.nn.model_parallel.cross_entropy")
    here.get_model_parallel_group = lambda: None
    here.get_model_parallel_rank, here.get_model_parallel_world_size = (lambda: 0), (lambda: 1)
    collective, torch.distributed.all_reduce = torch.distributed.all_reduce, lambda *args, **options: None
    try:
        return here._VocabParallelCrossEntropy.apply(logits * 1.0, torch.tensor([1, 0, 3]))
    finally:
        torch.distributed.all_reduce = collective


def quaternion(x: Any, r: Any, i: Any, j: Any, k: Any, bias: Any) -> Any:
    here = module_of("speechbrain.nnet.quaternion_networks.q_ops")
    return here.QuaternionLinearCustomBackward.apply(x, r, i, j, k, bias)


def equilibrium(w: Any, x: Any) -> Any:
    """The fixed point of z = tanh(W z + x), differentiated by torchdeq's implicit function theorem."""
    import torch

    here = module_of("torchdeq.grad")
    solvers = module_of("torchdeq.solver")
    f: Function = lambda z: torch.tanh(z @ w + x)
    z = torch.zeros_like(x)
    with torch.no_grad():
        for _ in range(200):
            z = f(z)
    functor = here.backward_factory(
        grad_type="ift",
        b_solver=solvers.get_solver("fixed_point_iter"),
        b_solver_kwargs={"max_iter": 200, "tol": 1e-14},
    )
    return functor(torch.nn.Module(), f, z)[0]


SURROGATE = "a surrogate of a step"
a = np.array
x5 = a([[0.3, -2.0, 0.7], [1.5, -0.2, 4.0]])
rows: list[tuple[str, Function, tuple[np.ndarray, ...], str]] = [
    ("kornia._TargetLogSoftmax", focal, (normal(2, 4, 3),), ""),
    ("kornia._NullSpaceBasis, projection", null_space, (normal(2, 7, 9),), ""),
    ("deepinv.LinearSplineFunc", spline("LinearSplineFunc"), (normal(2, 2, 3, 2, 1, times=0.5), normal(2, 7)), ""),
    ("deepinv.LinearSplineDerivativeFunc", spline("LinearSplineDerivativeFunc"),
     (normal(2, 2, 3, 2, 1, times=0.5), normal(2, 7)), ""),
    ("deepinv.QuadraticSplineFunc", spline("QuadraticSplineFunc"), (normal(2, 2, 3, 2, 1, times=0.5), normal(2, 7)), ""),
    ("deepinv.MMSEFunction, tensor", denoised(False), (normal(2, 3, times=0.4), a([[0.5], [0.8]])), ""),
    ("deepinv.MMSEFunction, batches", denoised(True), (normal(2, 3, times=0.4), a([[0.5], [0.8]])), ""),
    ("ring_attention", attention(False, False, 4), (normal(1, 6, 2, 3), normal(1, 6, 2, 3), normal(1, 6, 2, 3)), ""),
    ("ring_attention, causal", attention(True, False, 4), (normal(1, 6, 2, 3), normal(1, 6, 2, 3), normal(1, 6, 2, 3)), ""),
    ("ring_attention, causal, clamped", attention(True, True, 4),
     (normal(1, 6, 2, 3), normal(1, 6, 2, 3), normal(1, 6, 2, 3)), ""),
    ("ring_attention, grouped heads", attention(True, False, 2),
     (normal(1, 4, 4, 3), normal(1, 4, 2, 3), normal(1, 4, 2, 3)), ""),
    ("ring_attention, causal, more keys", attention(True, False, 8),
     (normal(1, 3, 2, 3), normal(1, 6, 2, 3), normal(1, 6, 2, 3)), ""),
    ("ring_attention, masked", masked_attention, (normal(1, 6, 2, 3), normal(1, 6, 2, 3), normal(1, 6, 2, 3)), ""),
    ("reformer._ReversibleFunction", reversible("reformer_pytorch.reversible"), (normal(1, 2, 6),), ""),
    ("linformer._ReversibleFunction", reversible("linformer.reversible"), (normal(1, 2, 6),), ""),
    ("revtorch._ReversibleModuleFunction", reversible("revtorch.revtorch"), (normal(1, 2, 6),), ""),
    ("torch_struct._SimplexProject", rule("torch_struct.semirings.sparse_max", "_SimplexProject", -1), (x5,), ""),
    ("torch_struct._SparseMaxGrad", rule("torch_struct.semirings.sparse_max", "_SparseMaxGrad", scalar(-1)),
     (a([[0.3, 0.7, 0.0], [0.2, 0.2, 0.6]]),), "the derivative of a projection, of which the function gives the value"),
    ("torch_struct._SampledLogSumExp", sampled("_SampledLogSumExp"), (x5,), "a gradient drawn anew"),
    ("torch_struct.CheckpointSemiring", checkpointed(False), (normal(1, 2, 3, 4), normal(1, 2, 4, 2)), ""),
    ("torch_struct.CheckpointShardSemiring", checkpointed(True), (normal(1, 2, 3, 4), normal(1, 2, 4, 2)), ""),
    ("compressai.LowerBoundFunction", rule("compressai.ops.bound_ops", "LowerBoundFunction", real(0.5)), (x5,),
     "where x is below the bound the gradient passes if it would raise x"),
    ("compressai.QReLU", rule("compressai.layers.layers", "QReLU", 2, 100), (x5,), "a gradient beyond the clamp"),
    ("fairscale._VocabParallelCrossEntropy", cross_entropy, (normal(3, 4),), ""),
    ("qpth.QPFunction, active constraints", programme("one"),
     (a([[-1.0, -2.0, 0.5]]), a([[1.0, 0.2, 0.3], [-0.1, 1.0, 0.4]]), a([0.3, 0.4])), ""),
    ("qpth.QPFunction, a batch with one Q", programme("batch"),
     (normal(3, 3, times=0.4), a([[-1.0, -2.0, 0.5], [0.3, 1.0, -2.0]])), ""),
    ("quanto.QuantizedLinearFunction", rule("optimum.quanto.tensor.function", "QuantizedLinearFunction"),
     (normal(2, 3), normal(4, 3), normal(4)), ""),
    ("pytorch_revgrad.RevGrad", rule("pytorch_revgrad.functional", "RevGrad", real(0.7)), (x5,), "gradient reversal"),
    ("efficientnet.SwishImplementation", rule("efficientnet_pytorch.utils", "SwishImplementation"), (x5,), ""),
    *((f"geffnet.{n}", rule("geffnet.activations.activations_me", n), (x5,), "")
      for n in ("SwishJitAutoFn", "MishJitAutoFn", "HardSigmoidJitAutoFn", "HardSwishJitAutoFn")),
    ("echoAI.apl_function", rule("echoAI.Activation.Torch.apl", "apl_function"), (x5, normal(2, 1, 3), normal(2, 1, 3)), ""),
    ("echoAI.BReLU", rule("echoAI.Activation.Torch.brelu", "BReLU"), (x5,), ""),
    ("echoAI.Maxout", rule("echoAI.Activation.Torch.maxout", "Maxout"), (normal(1, 8, 2, 2),), ""),
    ("entmax.SparsemaxFunction", rule("entmax.activations", "SparsemaxFunction", -1), (x5,), ""),
    ("entmax.Entmax15Function", rule("entmax.activations", "Entmax15Function", -1), (x5,), ""),
    ("entmax.EntmaxBisectFunction", rule("entmax.root_finding", "EntmaxBisectFunction", 1.4), (x5,), ""),
    ("entmax.EntmaxBisectFunction, alpha", rule("entmax.root_finding", "EntmaxBisectFunction"), (x5, a([[1.4], [1.7]])), ""),
    ("entmax.NormmaxBisectFunction", rule("entmax.root_finding", "NormmaxBisectFunction", 2.5), (x5,), ""),
    ("entmax.BudgetBisectFunction", rule("entmax.root_finding", "BudgetBisectFunction", 2), (x5 / 4,), ""),
    ("iunets.cayley", rule("iunets.cayley", "cayley"), (normal(3, 3, times=0.4),), ""),
    ("iunets.expm", rule("iunets.expm", "expm"), (normal(3, 3, times=0.4),), ""),
    ("kymatio.ModulusStable", rule("kymatio.backend.torch_backend", "ModulusStable"), (normal(2, 3, 2),), ""),
    ("kymatio.ModulusStable, a zero", rule("kymatio.backend.torch_backend", "ModulusStable"),
     (a([[0.0, 0.0], [3.0, 4.0]]),), ""),
    ("pytorch_optimizer.ComputeNormalization, t 0.7",
     rule("pytorch_optimizer.loss.bi_tempered", "ComputeNormalization", 0.7, 60), (x5,), ""),
    ("pytorch_optimizer.ComputeNormalization, t 1.3",
     rule("pytorch_optimizer.loss.bi_tempered", "ComputeNormalization", 1.3, 60), (x5,), ""),
    ("speechbrain.QuaternionLinearCustomBackward", quaternion,
     (normal(2, 4), normal(1, 2), normal(1, 2), normal(1, 2), normal(1, 2), normal(8)), ""),
    *((f"snntorch.{n}", rule("snntorch.surrogate", n, *rest), (x5,), SURROGATE)
      for n, rest in (("Triangular", (1,)), ("FastSigmoid", (25,)), ("ATan", (2.0,)), ("Sigmoid", (25,)),
                      ("SpikeRateEscape", (1, 25)))),
    *((f"spikingjelly.{n}", rule("spikingjelly.activation_based.surrogate", n, *rest), (x5,), SURROGATE)
      for n, rest in (("sigmoid", (4.0,)), ("soft_sign", (2.0,)), ("piecewise_quadratic", (1.0,)), ("erf", (2.0,)))),
    *((f"brevitas.{n}", rule("brevitas.ops.autograd_ste_ops", n), (x5,), SURROGATE)
      for n in ("RoundSteFn", "CeilSteFn", "FloorSteFn", "BinarySignSteFn", "TernarySignSteFn", "RoundToZeroSteFn")),
    ("brevitas.ScalarClampSteFn", rule("brevitas.ops.autograd_ste_ops", "ScalarClampSteFn", -1.0, 1.0), (x5,),
     "a gradient beyond the clamp"),
    ("brevitas.AbsBinarySignGradFn", rule("brevitas.ops.autograd_ste_ops", "AbsBinarySignGradFn"), (x5,), ""),
    ("monai._AutoGradReLU", rule("monai.visualize.gradient_based", "_AutoGradReLU"), (x5,), "guided backpropagation"),
    ("torchdeq.IFTGrad", equilibrium, (normal(3, 3, times=0.2), normal(2, 3)), ""),
    *((f"norse.{n}", rule("norse.torch.functional.threshold", n, *rest), (x5,), SURROGATE)
      for n, rest in (("HeaviErfc", (1.0,)), ("HeaviTanh", (1.0,)), ("Logistic", (1.0,)), ("Triangle", (0.3,)))),
]  # fmt: skip


def gradients() -> list[Public]:
    return [Public(name, f, args, "torch", meant) for name, f, args, meant in rows]
