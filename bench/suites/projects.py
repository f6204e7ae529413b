"""Public projects whose own test-suites are run with the sanitizer: source distributions with custom gradients."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Project:
    """A project, as its source distribution is installed and tested.

    name        as the package index has it
    version     of the source distribution; of a repository its commit
    package     what is imported
    tests       arguments of pytest, from the distribution's root: the files that run custom gradients
    needs       other packages that its tests need, installed without their own dependencies
    patches     (file, old, new): what keeps an old suite from running with today's NumPy or PyTorch, and is no gradient; a
                file that is not there is written
    wheel       its requirement, of a project with compiled parts: their files are taken from its wheel
    repository  on GitHub, where the source distribution has no tests
    """

    name: str
    version: str
    package: str
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
    patches: tuple[tuple[str, str, str], ...] = field(default_factory=tuple)
    repository: str = ""
    wheel: str = ""


GPYTORCH = ("jaxtyping", "wadler_lindig", "linear_operator", "scikit-learn", "joblib", "threadpoolctl")

MATPLOTLIB = ("matplotlib", "cycler", "kiwisolver", "pyparsing", "python-dateutil", "six", "contourpy", "pillow")

JAX = (
    "chex",
    "equinox",
    "jaxtyping",
    "wadler_lindig",
    "absl-py",
    "toolz",
    "typing_extensions",
    "scikit-learn",
    "joblib",
    "threadpoolctl",
    "narwhals",
    "cloudpickle",
)

EQUINOX = ("beartype", "jaxtyping", "wadler_lindig", "quax", "typing_extensions", "absl-py", "equinox==0.13.8")

PROJECTS = (
    Project("entmax", "1.0", "entmax", ("entmax/test_topk.py",)),
    Project(
        "memcnn", "1.5.2", "memcnn",
        ("memcnn/models/tests/test_couplings.py", "-k", "not multi and not resnet"),
        ("tqdm", "SimpleITK"),
    ),
    Project(
        "pytorch_wavelets", "1.3.0", "pytorch_wavelets",
        ("tests/test_dwt.py", "tests/test_dwt1d.py", "tests/test_dwt_grad.py", "tests/test_dtcwt_grad.py"),
        ("PyWavelets", "six", "py3nvml", "xmltodict", "setuptools==80.9.0"),  # pkg_resources
    ),
    Project("sparsemax", "0.1.9", "sparsemax", ("tests",)),
    Project("torchdiffeq", "657943ac", "torchdiffeq", ("tests/gradient_tests.py", "-o", "python_files=*_tests.py"),
            repository="rtqichen/torchdiffeq"),
    Project("snntorch", "634fc223", "snntorch",
            ("tests/test_snntorch/functional", "tests/test_snntorch/test_linearleaky.py",
             "tests/test_snntorch/test_graded_spikes.py"), ("nir", "nirtorch"),
            repository="jeshraghian/snntorch"),
    Project(
        "spikingjelly", "afb13226", "spikingjelly",
        ("test/activation_based/test_functional_neuron.py", "test/activation_based/test_few_spike_neuron.py",
         "test/activation_based/test_ilif_node.py"),
        ("tqdm", *MATPLOTLIB), repository="fangwei123456/spikingjelly",
    ),
    Project("norse", "1.0.0", "norse", ("norse/torch/functional",), ("nir", "nirtorch")),
    Project("linear_operator", "0.6.1", "linear_operator",
            ("test/functions/test_matmul.py", "test/functions/test_root_decomposition.py",
             "test/functions/test_inv_quad.py"), ("jaxtyping", "wadler_lindig")),
    Project(
        "gpytorch", "1.15.2", "gpytorch",
        ("test/functions", "test/variational/test_natural_variational_distribution.py"), GPYTORCH,
    ),
    Project("e3nn", "0.6.0", "e3nn", ("tests/math/soft_unit_step_test.py", "-o", "python_files=*_test.py"),
            ("opt_einsum_fx", "opt_einsum")),
    Project("torchsde", "0.2.6", "torchsde", ("tests/test_adjoint.py", "-k", "euler or midpoint"),
            ("trampoline", "boltons"), patches=(("tests/__init__.py", "", ""),)),
    Project("torchlpc", "0.7.2", "torchlpc", ("tests/test_grad.py",), ("numba", "llvmlite")),
    Project("pyro-ppl", "ff6ae1c9", "pyro",
            ("tests/ops/test_special.py", "tests/distributions/test_omt_mvn.py", "-k",
             "safe_log or single_gradient"), ("pyro-api", "opt_einsum", "tqdm"),
            repository="pyro-ppl/pyro"),
    Project("xitorch", "ad9eec1", "xitorch", ("xitorch/_tests/test_interp.py", "xitorch/_tests/test_integrate.py"),
            repository="xitorch/xitorch"),
    Project("numpyro", "0.22.0", "numpyro",
            ("test/test_distributions_util.py", "-k", "cholesky_update"), ("multipledispatch", "tqdm")),
    Project("jaxopt", "2de13bf0", "jaxopt", ("tests/isotonic_test.py", "-o",
            "python_files=*_test.py"),
            JAX, repository="google/jaxopt"),
    Project("optax", "2edbcbe2", "optax", ("optax/projections", "-k", "simplex", "-o", "python_files=*_test.py"),
            JAX, repository="google-deepmind/optax"),
    Project("torchkbnufft", "bda32ab", "torchkbnufft", ("tests", "-k", "adjoint or grad"),
            repository="mmuckley/torchkbnufft"),
    Project("torchopt", "960fb0a", "torchopt", ("tests/test_accelerated_op.py", "tests/test_zero_order.py", "-W",
            "ignore::FutureWarning"), ("optree", "graphviz", "functorch"), repository="metaopt/torchopt",
            wheel="torchopt==0.7.3"),
    Project("torchsort", "75df71d", "torchsort", ("tests",), repository="teddykoker/torchsort"),
    Project("POT", "aed01202", "ot",
            ("test/test_ot.py", "-k", "grad"),
            repository="PythonOT/POT", wheel="POT==0.9.7"),
    Project("lineax", "2f0e083", "lineax", ("tests/test_norm.py",), (*EQUINOX, "lineax"),
            repository="patrick-kidger/lineax"),
    Project("equinox", "9336d82", "equinox", ("tests/test_ad.py", "-k", "custom"), EQUINOX,
            repository="patrick-kidger/equinox"),
    Project("pypose", "2b684b0", "pypose", ("tests/lietensor",), (), repository="pypose/pypose"),
    Project("torch-struct", "7146de5", "torch_struct", ("tests/test_semirings.py",),
            repository="harvardnlp/pytorch-struct"),
    Project("e3nn-jax", "04e761c", "e3nn_jax", ("tests/_src/spherical_harmonics", "-k",
            "edge_cases or (check_grads and 2x0e)", "-o", "python_files=*_test.py"), JAX, repository="e3nn/e3nn-jax"),
    Project("botorch", "e390e13", "botorch", ("test/utils/test_rounding.py",),
            (*GPYTORCH, "gpytorch", "pyro-ppl", "pyro-api", "multipledispatch", "pyre-extensions"),
            repository="pytorch/botorch"),
    Project("torch_geometric", "5c6461b", "torch_geometric",
            ("test/nn/models/test_rev_gnn.py", "test/utils/test_cross_entropy.py"), ("xxhash",),
            repository="pyg-team/pytorch_geometric"),
)  # fmt: skip
