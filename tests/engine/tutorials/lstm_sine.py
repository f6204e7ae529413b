import torch
from torch import nn


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm1 = nn.LSTMCell(1, 16)
        self.linear = nn.Linear(16, 1)

    def forward(self, input, future=0):
        outputs = []
        h_t = torch.zeros(input.size(0), 16)
        c_t = torch.zeros(input.size(0), 16)
        for input_t in input.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            output = self.linear(h_t)
            outputs += [output]
        for _ in range(future):
            h_t, c_t = self.lstm1(output, (h_t, c_t))
            output = self.linear(h_t)
            outputs += [output]
        return torch.cat(outputs, dim=1)


data = torch.sin(torch.arange(60.0) / 4).reshape(1, 60)
model, criterion = Sequence(), nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
first = None
for i in range(40):
    optimizer.zero_grad()
    loss = criterion(model(data[:, :-1]), data[:, 1:])
    first = first or loss.item()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    print(model(data, future=5).shape, loss.item() < first / 3)
