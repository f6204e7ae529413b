import io
import torch
from torch import nn


def make():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


model = make()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
model(torch.randn(8, 3)).sum().backward()
optimizer.step()
buffer = io.BytesIO()
torch.save({"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
buffer.seek(0)
checkpoint = torch.load(buffer)
other = make()
print(other.load_state_dict(checkpoint["model"]))
second = torch.optim.Adam(other.parameters(), lr=0.5)
second.load_state_dict(checkpoint["optimizer"])
print(checkpoint["epoch"], second.param_groups[0]["lr"], list(checkpoint["model"]))
x = torch.randn(2, 3)
print(torch.equal(model.eval()(x), other.eval()(x)))
