import torch
from torch import nn

model = nn.Linear(2, 1, bias=False)
nn.init.constant_(model.weight, 0.5)
data = torch.arange(16.0).reshape(8, 2)
model(data).mean().backward()
full = model.weight.grad.clone()
model.zero_grad()
for part in data.chunk(4):
    (model(part).mean() / 4).backward()
print(torch.allclose(full, model.weight.grad), full)
with torch.no_grad():
    print(model(data).requires_grad)


@torch.no_grad()
def evaluate():
    return model(data).sum()


print(evaluate(), torch.is_grad_enabled())
with torch.set_grad_enabled(False):
    print(model(data).grad_fn)
y = model(data)
print(y.detach().requires_grad, y.requires_grad)
