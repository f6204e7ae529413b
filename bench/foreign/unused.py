# ruff: noqa: E501 - one report, one line: a table
"""Public reports that were looked at and made into no case, each with the reason."""

from __future__ import annotations

from .catalogue import Unused

_ROWS = """
pytorch/pytorch#1712 | selection functions: double backward implemented incorrectly | the text names neither the formula nor an input
pytorch/pytorch#26302 again: #28716, #3506, #103023 | padding_idx gets a gradient (769 rows on the GPU, sparse, MPS) | the same bug as pytorch/pytorch#26302
pytorch/pytorch#27614, #94336 | scatter with an index smaller than src | the pull request that mends both is in the catalogue of classes already
pytorch/pytorch#46144 | gradients of angle are wrong | only the training curve is shown; its forward-mode part, #77246, is a case
pytorch/pytorch#47870 | nested gradients: one of two formulations does not train | no gradient that is shown to be wrong
pytorch/pytorch#59477, #77852 | binary_cross_entropy: double backward with reduction='sum'; its forward-over-reverse rule | the first text does not say which term; the second needs a jvp inside a backward pass
pytorch/pytorch#60027, #98946, #60180, #47200, #104514 | complex gradients and unused inputs | expected behaviour, as the maintainers say
pytorch/pytorch#63541 | layer_norm: the gradient of a plain sum is 0 | right: the sum of what is normalised does not depend on the input
pytorch/pytorch#64039 | SyncBatchNorm and BatchNorm2d | needs several processes
pytorch/pytorch#69997, #16562, #63744, #71678, #76644 | cdist and sparse products whose backward pass raises | what raises shows itself; and the mended release is the installed one
pytorch/pytorch#93950 | embedding with padding_idx: forward and reverse mode differ | settled as documentation; #26302 is the case
pytorch/pytorch#98276 | angle next to 0 is NaN | closed as numbers below what the formula squares; near to the known weakness of hypot
pytorch/pytorch#128401 | a number divided by a tiny tensor | about the value of a division of subnormal numbers
pytorch/pytorch#140913 | group_norm, channels last: the weight's gradient | the text that could be read does not say what is read wrongly
pytorch/pytorch#168358, #169263 | index_reduce with amax and include_self=False, compiled: NaN | eager is right; what the compiled count is, the text leaves open
pytorch/pytorch#190717, #190758 | recomputed dropout draws again | the same bug as openai/guided-diffusion#167
pytorch/pytorch#192407, #192408 | exp2 at 1024: the derivative is finite, the gradient inf | the value itself is not finite there, so no gradient is asked for
pytorch/pytorch#193279 | torch.compile drops a custom backward pass under func.grad | the function is right; the compiler's result is no function with a gradient of its own
pytorch/pytorch#195527, #195677, #195679, #195681 | sigmoid, tanh and binary_cross_entropy_with_logits on the tail | the same formula as pytorch/pytorch#195678, or in the findings
pytorch/pytorch#7705, #52241 | rsample().detach(); CTC on normalised input | the first is as meant, the second is pytorch/pytorch#82545
pytorch/functorch#534 | batching rules of layer_norm and batch_norm | about vmap
pytorch/vision#6885 | deform_conv2d differs from another library | nobody found out which of the two is wrong, or why
pytorch/FBGEMM#3006, torch/nn#345 | a cotangent that is not contiguous | the same bug as flagos-ai/FlagGems#1084
jax-ml/jax#764 | gradient of tanh is invalid | the text that could be read does not show where
jax-ml/jax#2311, #8732, #10844 | svd and eigh of degenerate matrices: NaN | the factors have no derivative there; whether the whole has one is a matter of what is done with them
jax-ml/jax#3058, #11716, #21723, HIPS/autograd#151, #183, #268, #586 | norm and std at 0 | no derivative there, or (squared) the same as HIPS/autograd#617
jax-ml/jax#8247, #7205 | NaN through nan_to_num and where | the same as jax-ml/jax#23842
jax-ml/jax#10834, #1888 | reduce_window of scalars, prod of nothing: raise | what raises shows itself
jax-ml/jax#19479 | vjp of a multiplication returns its input | only one of two equal gradients was printed
jax-ml/jax#27349 | gamma variates: gradients differ from differences | implicit reparameterisation, right in expectation
jax-ml/jax#32411 | vjp3 and array references | an experimental interface; no mechanism given
jax-ml/jax#39795, #40344, #40384 | elu, softmax, log_softmax on the tail | the same formulas as jax-ml/jax#39796 and #40386
jax-ml/jax#39799 | sqrt of the smallest subnormal number | XLA on the CPU flushes subnormal numbers, values too
openxla/xla#49143 | scatter-add in a scan, sharded | needs a TPU
patrick-kidger/diffrax#64, #499, #596 | adaptive solvers and adjoints | the cause is not found, or was the reporter's tolerance
google/jaxopt#141 | implicit differentiation through value_and_grad | no cause given
ml-explore/mlx#1234 | max under compile | a comparison's value, not a gradient
ml-explore/mlx#2376, #1427, #1771, #3081 | einsum, argpartition, jvp rules that raise or give booleans | what raises shows itself
tinygrad/tinygrad#228 | max: ties as in torch | another convention
tinygrad/tinygrad#3037, #3570 | comparisons without a backward pass; label smoothing | raises; the same as pytorch/pytorch#73205
HIPS/autograd#209, #252, #384, #429, #597 | kron, repeat, broadcast_to, pad, named tuples: raise | what raises shows itself
ml-explore/mlx#4441, #1826 | pad's second order; shapes with flipped kernels | the gradient has another shape, and raises; the pull request that mends #1826 is a case
pytorch/pytorch#196680 | ldexp with a negative exponent | in the findings
jax-ml/jax#3389, #14833, #25724, #31448 | custom_jvp rules of None, symbolic zeros | raise
fastai/fastai#3048 | loss scaling and accumulation | what is printed is scaled, no gradient is wrong
HIPS/autograd#396 | where: the gradient is incorrect | nothing but the title
HIPS/autograd#538 | svd of complex matrices | the same bug as jax-ml/jax#5225
linkedin/Liger-Kernel#262, #680, #1251, axolotl-ai-cloud/axolotl#3892, k2-fsa/k2#1106 | buffers that are overwritten | the same as #272, #254, #968 of Liger, and pytorch/audio#1532
linkedin/Liger-Kernel#418, #117 | a test without gradients; a comment | no wrong gradient
linkedin/Liger-Kernel#1082 | GRPO: gradients 100 times larger | another loss, not another gradient of one
unslothai/unsloth#3314 | swiglu stores its gradients in other buffers | meant so: the caller knows what it finds where
AMD-AGI/Primus-Turbo#329 | a bias's gradient is not summed over tokens | torch's engine sums a gradient that has grown by broadcasting
state-spaces/mamba#342, #368, #520 | dz unused; a step that is not zeroed; a mask too few | written in place as meant; the products have no effect; withdrawn
fla-org/flash-linear-attention#885 | forget before the error | meant so
Dao-AILab/flash-attention#2481 | a race before a preprocessing kernel | needs a GPU's timing
NVIDIA/TransformerEngine#1615, #1616, #545, NVIDIA/apex#1160, #1750 | attention, weight gradients, fused rope | no mechanism in the text; #545 is the same as pytorch/pytorch#193061
NVIDIA/apex#411 | layer norm of 65,536 rows | the value overflows a grid index of the GPU
deepspeedai/DeepSpeed#2324, #1480, #1563 | transformer kernel's backward pass | the first was withdrawn, the others give no cause
facebookresearch/xformers#636 | attention bias without a gradient | refused, and says so
graphdeco-inria/gaussian-splatting#551, diff-gaussian-rasterization#94 | the off-diagonal of the conic: 0.5 for 1 | disputed: the next step counts the entry of the symmetric matrix twice
lightly-ai/lightly#1977, pytorch-metric-learning#363, DeCLUTR#212 | all-reduce and all-gather without gradients | the same bug as modelscope/ms-swift#9947
tracel-ai/burn#5604 | avg_pool with ceil_mode | the same bug as pytorch/pytorch#198119
tracel-ai/burn#4596 | a network trains worse | no cause found
apache/mxnet#18102, #18499, #19817 | einsum, batch norm with grad_req='add', take | no formula in the text; the second is NVIDIA/TransformerEngine#3437 over again
kornia/kornia#1584 | distance transform: boundary written in place | autograd follows that assignment; what went wrong is not said
rusty1s/pytorch_scatter#119, #63, #399 | scatter_softmax raises; argmax; ties | raises; no derivative; another convention
rusty1s/pytorch_sparse#239 | spspmm has no gradient | refused, and says so
pyro-ppl/numpyro#48, #943 | Dirichlet samples | right in expectation
SeanNaren/deepspeech.pytorch#121 | CTC of probabilities | logits were expected
Oneflow-Inc/oneflow#8649, pytorch/pytorch#38600 | fake quantisation: gradient 1 | a straight-through estimator, as meant
longcw/RoIAlign.pytorch#1 | gradcheck fails in single precision | single precision
"""

UNUSED = [
    Unused(**dict(zip(("source", "about", "reason"), map(str.strip, row.split(" | ")))))
    for row in _ROWS.strip().splitlines()
]
