"""Public projects whose own test-suites are run with the sanitizer: source distributions with custom gradients."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Project:
    """A project, as its source distribution is installed and tested.

    name      as the package index has it
    version   of the source distribution
    package   what is imported
    needs     other packages that its tests need, installed without their own dependencies
    tests     arguments of pytest, from the distribution's root
    patches   (file, old, new): what keeps an old suite from running with today's NumPy or PyTorch, and is no gradient
    """

    name: str
    version: str
    package: str
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
    patches: tuple[tuple[str, str, str], ...] = field(default_factory=tuple)


PROJECTS = (
    Project("entmax", "1.0", "entmax", ("entmax/test_topk.py", "entmax/test_losses.py")),
    Project("memcnn", "1.5.2", "memcnn", ("memcnn/models/tests", "-k", "not multi and not resnet"), ("tqdm", "SimpleITK")),
    Project(
        "pytorch_wavelets", "1.3.0", "pytorch_wavelets",
        ("tests/test_dwt.py", "tests/test_dwt1d.py", "tests/test_dwt_grad.py", "tests/test_dtcwt_grad.py"),
        ("PyWavelets", "six", "py3nvml", "xmltodict", "setuptools==80.9.0"),  # pkg_resources
    ),
    Project("norse", "1.0.0", "norse", ("norse/torch/functional",), ("nir", "nirtorch")),
    Project("linear_operator", "0.6.1", "linear_operator", ("test/functions",), ("jaxtyping", "wadler_lindig")),
    Project(
        "gpytorch", "1.15.2", "gpytorch",
        ("test/functions", "test/variational/test_natural_variational_distribution.py",
         "test/variational/test_ciq_variational_strategy.py"),
        ("jaxtyping", "wadler_lindig", "linear_operator", "scikit-learn", "joblib", "threadpoolctl"),
    ),
    Project("e3nn", "0.6.0", "e3nn", ("tests/math", "tests/nn/gate_test.py", "-o", "python_files=*_test.py"),
            ("opt_einsum_fx", "opt_einsum")),
    Project("torchsde", "0.2.6", "torchsde", ("tests/test_adjoint.py", "-k", "euler or midpoint"),
            ("trampoline", "boltons")),
    Project("numpyro", "0.22.0", "numpyro", ("test/test_distributions_util.py",), ("multipledispatch", "tqdm")),
)  # fmt: skip
