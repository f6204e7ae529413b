import torch
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

calls = []


def block(x):
    calls.append(0)
    return torch.sin(x).exp()


x = torch.linspace(0, 1, 4, requires_grad=True)
y = checkpoint(block, checkpoint(block, x, use_reentrant=False), use_reentrant=False).sum()
print(len(calls))
y.backward()
print(len(calls), x.grad)
x.grad = None
block(block(x)).sum().backward()
print(x.grad)
model = torch.nn.Sequential(*[torch.nn.Tanh() for _ in range(4)])
print(checkpoint_sequential(model, 2, x, use_reentrant=False).grad_fn is not None)
