#!/usr/bin/env bash
# All checks that need a GPU, in under ten minutes, unattended: tests marked `gpu`; the specs on the engine over CuPy, on
# PyTorch and on JAX on CUDA; the law that a GPU agrees with the CPU; Triton kernels, compiled, against the truth of their
# interpreted traces. Each part has a time limit. What is said goes to bench/results/gpu.md.
#
#   bench/gpu.sh [FILE]
#
# Exit codes: 0 all that ran is right, 1 something is not, 2 a part ended at its time limit, 77 there is no GPU here.
set -u
cd "$(dirname "$0")/.."
results=${1:-bench/results/gpu.md}
python=${PYTHON:-python}

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
    echo "there is no GPU here (nvidia-smi finds none): nothing was run, $results is as it was"
    exit 77
fi

worst=0
text=$(mktemp)
trap 'rm -f "$text" "$text.out" "$text.pickle"' EXIT
{
    echo "# On a GPU"
    echo
    echo "Written by \`bench/gpu.sh\` on $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD), $(nvidia-smi -L | head -1 | sed 's/ (UUID.*//')."
} >"$text"

# part TITLE SECONDS COMMAND...: runs a command within a time limit, and writes what it said last.
part() {
    local title=$1 limit=$2 start=$SECONDS code
    shift 2
    echo "== $title"
    timeout --kill-after=10 "$limit" "$@" >"$text.out" 2>&1
    code=$?
    tail -n 25 "$text.out"
    {
        echo
        echo "## $title"
        echo
        echo "\`$*\`: exit code $code, $((SECONDS - start)) s."
        [ "$code" = 124 ] && echo "It ended at its limit of $limit s."
        [ "$code" = 5 ] && echo "No test was chosen."
        echo
        echo '```'
        tail -n 25 "$text.out"
        echo '```'
    } >>"$text"
    case $code in
        0 | 5) ;;
        124 | 137) [ "$worst" = 0 ] && worst=2 ;;
        *) worst=1 ;;
    esac
}

part "Tests marked gpu" 90 "$python" -m pytest -q -m gpu -p no:cacheprovider tests/engine tests/api/test_frameworks.py tests/frameworks/test_adapters.py tests/spec/test_black_boxes.py
part "The engine over CuPy" 90 "$python" -m pytest -q --gradverify --gradverify-subjects=engine --gradverify-device=cuda specs
part "PyTorch on CUDA" 90 "$python" -m pytest -q --gradverify --gradverify-subjects=torch --gradverify-device=cuda specs
part "JAX on CUDA" 120 "$python" -m pytest -q --gradverify --gradverify-subjects=jax --gradverify-device=cuda specs/elementwise.grad.yaml specs/reductions.grad.yaml
part "Laws between GPU and CPU" 60 "$python" -m gradverify conformance engine --law a_gpu_agrees_with_the_cpu --steps 0
part "Triton: truths from interpreted traces" 60 env TRITON_INTERPRET=1 "$python" -m bench.triton.compiled --truths "$text.pickle"
part "Triton: compiled kernels" 80 env TRITON_INTERPRET=0 "$python" -m bench.triton.compiled --judge "$text.pickle"

mv "$text" "$results"
echo "written: $results"
exit "$worst"
