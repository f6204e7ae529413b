"""32×1000 → 100 → 2, trained by hand for 500 iterations.

The text that it comes from writes `nn.ReLU(x.mm(w1))`, which makes a module and fails at `hidden.mm`, here as in PyTorch.
"""

import gradverify.engine as torch
from gradverify.engine import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

BATCH_SIZE = 32
INPUT_SIZE = 1000
HIDDEN_SIZE = 100
OUTPUT_SIZE = 2
LEARNING_RATE = 1e-6

x = torch.randn(BATCH_SIZE, INPUT_SIZE, device=device, dtype=torch.float, requires_grad=False)
y = torch.randn(BATCH_SIZE, OUTPUT_SIZE, device=device, dtype=torch.float, requires_grad=False)
w1 = torch.randn(INPUT_SIZE, HIDDEN_SIZE, device=device, dtype=torch.float, requires_grad=True)
w2 = torch.randn(HIDDEN_SIZE, OUTPUT_SIZE, device=device, dtype=torch.float, requires_grad=True)

relu = nn.ReLU()

for t in range(1, 501):
    hidden = relu(x.mm(w1))
    y_pred = hidden.mm(w2)
    loss = (y_pred - y).pow(2).sum()

    if t % 100 == 0:
        print(t, "th Iteration: ", sep="")
        print(">>>> Loss: ", loss.item())

    loss.backward()

    with torch.no_grad():
        w1 -= LEARNING_RATE * w1.grad
        w2 -= LEARNING_RATE * w2.grad

        w1.grad.zero_()
        w2.grad.zero_()
