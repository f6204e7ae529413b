import torch
import torch.nn as nn

activations, gradients = {}, {}
model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
for name, layer in model.named_children():
    layer.register_forward_hook(lambda m, i, o, name=name: activations.__setitem__(name, o.shape))
    layer.register_full_backward_hook(lambda m, gi, go, name=name: gradients.__setitem__(name, go[0].shape))
model(torch.ones(4, 2)).sum().backward()
print(activations, gradients)
x = torch.tensor([1.0, 2.0], requires_grad=True)
y = x * 3
y.retain_grad()
handle = y.register_hook(lambda g: g * 10)
(y * y).sum().backward()
print(y.grad, x.grad)
handle.remove()
x.register_post_accumulate_grad_hook(lambda p: print("accumulated", p.grad))
(x * 2).sum().backward()
with torch.autograd.graph.saved_tensors_hooks(lambda t: print("pack", t.shape) or t, lambda t: print("unpack") or t):
    z = x.exp()
z.sum().backward()
