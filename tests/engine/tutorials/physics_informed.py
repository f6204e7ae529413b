import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
t = torch.linspace(0, 1, 20).reshape(-1, 1).requires_grad_()
for step in range(200):
    u = net(t)
    du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
    d2u = torch.autograd.grad(du.sum(), t, create_graph=True)[0]
    loss = ((d2u + u) ** 2).mean() + (u[0] - 1) ** 2 + du[0] ** 2
    optimizer.zero_grad()
    loss.sum().backward()
    optimizer.step()
print(loss.item() < 0.1, d2u.shape)
x = torch.tensor(1.0, requires_grad=True)
y = torch.exp(x) * torch.sin(x)
for k in range(4):
    (y,) = torch.autograd.grad(y, x, create_graph=True)
    print(k, f"{y.item():.4f}")
