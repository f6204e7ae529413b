import torch
from torch import nn

X = torch.linspace(0, 1, 50).unsqueeze(1)
y = 0.7 * X + 0.3


class LinearRegression(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.weights * x + self.bias


model = LinearRegression()
loss_fn = nn.L1Loss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(100):
    model.train()
    loss = loss_fn(model(X), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.inference_mode():
    print(f"{loss_fn(model(X), y):.4f}")
print({k: round(v.item(), 3) for k, v in model.state_dict().items()})
