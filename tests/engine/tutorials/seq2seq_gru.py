import torch
import torch.nn as nn


class Encoder(nn.Module):
    def __init__(self, n, hidden):
        super().__init__()
        self.embedding = nn.Embedding(n, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.1)

    def forward(self, input):
        return self.gru(self.dropout(self.embedding(input)))


class Decoder(nn.Module):
    def __init__(self, n, hidden):
        super().__init__()
        self.embedding = nn.Embedding(n, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, n)

    def forward(self, encoder_hidden, length):
        x = torch.zeros(encoder_hidden.size(1), 1, dtype=torch.long)
        hidden, outputs = encoder_hidden, []
        for _ in range(length):
            out, hidden = self.gru(torch.relu(self.embedding(x)), hidden)
            scores = self.out(out)
            outputs.append(scores)
            _, topi = scores.topk(1)
            x = topi.squeeze(-1).detach()
        return torch.cat(outputs, dim=1)


encoder, decoder = Encoder(8, 16), Decoder(8, 16)
source, target = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[4, 3, 2, 1]])
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.02)
for _ in range(60):
    _, hidden = encoder(source)
    scores = decoder(hidden, 4)
    loss = nn.CrossEntropyLoss()(scores.view(-1, 8), target.view(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item() < 0.5, scores.argmax(-1).tolist())
