import copy
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

models = [nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)) for _ in range(4)]
params, buffers = stack_module_state(models)
base = copy.deepcopy(models[0])


def fmodel(params, buffers, x):
    return functional_call(base, (params, buffers), (x,))


x = torch.ones(5, 2)
together = vmap(fmodel, in_dims=(0, 0, None))(params, buffers, x)
print(
    together.shape, torch.allclose(together, torch.stack([m(x) for m in models]), atol=1e-6), params["0.weight"].shape
)
