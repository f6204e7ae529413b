import torch


class DynamicNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(0.5))
        self.e = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, x, n):
        y = self.a * x
        for exp in range(4, n):
            y = y + self.e * x**exp
        return y

    def string(self):
        return f"{self.a.item():.2f} x + {self.e.item():.2f} x^4 ?"


model = DynamicNet()
for n in (4, 5, 6):
    model.zero_grad()
    model(torch.tensor([0.5, 1.5]), n).sum().backward()
    print(n, model.a.grad, model.e.grad, model.string())
