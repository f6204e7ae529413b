import math
import torch
from torch import nn


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=50):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(0)]


class Model(nn.Module):
    def __init__(self, ntoken, d_model):
        super().__init__()
        self.embedding = nn.Embedding(ntoken, d_model)
        self.pos = PositionalEncoding(d_model)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(d_model, 2, 32, 0.0), 2)
        self.linear = nn.Linear(d_model, ntoken)
        self.d_model = d_model

    def forward(self, src):
        mask = nn.Transformer.generate_square_subsequent_mask(len(src))
        return self.linear(self.encoder(self.pos(self.embedding(src) * math.sqrt(self.d_model)), mask))


model = Model(7, 16)
text = torch.tensor([1, 2, 3, 4, 5, 6, 1, 2, 3]).unsqueeze(1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(40):
    loss = nn.functional.cross_entropy(model(text[:-1]).view(-1, 7), text[1:].reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
print(loss.item() < 0.3, [n for n, _ in model.named_buffers()], len(list(model.parameters())))
