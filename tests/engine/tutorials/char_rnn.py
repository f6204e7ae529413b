import torch
import torch.nn as nn

text = "hello autograd"
letters = sorted(set(text))
index = {c: k for k, c in enumerate(letters)}


class RNN(nn.Module):
    def __init__(self, n, hidden):
        super().__init__()
        self.hidden = hidden
        self.i2h = nn.Linear(n + hidden, hidden)
        self.i2o = nn.Linear(n + hidden, n)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, x, h):
        combined = torch.cat((x, h), 1)
        return self.softmax(self.i2o(combined)), torch.tanh(self.i2h(combined))

    def init_hidden(self):
        return torch.zeros(1, self.hidden)


rnn = RNN(len(letters), 32)
criterion = nn.NLLLoss()
optimizer = torch.optim.Adam(rnn.parameters(), lr=0.02)
losses = []
for epoch in range(60):
    h, loss = rnn.init_hidden(), 0
    for a, b in zip(text, text[1:]):
        x = torch.nn.functional.one_hot(torch.tensor([index[a]]), len(letters)).float()
        out, h = rnn(x, h)
        loss = loss + criterion(out, torch.tensor([index[b]]))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(rnn.parameters(), 5.0)
    optimizer.step()
    losses.append(loss.item())
print(losses[-1] < losses[0] / 3, out.shape)
