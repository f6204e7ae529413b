import os
import tempfile
import torch

path = os.path.join(tempfile.mkdtemp(), "tensors.pt")
torch.save({"x": torch.arange(3.0), "y": [torch.eye(2), 5]}, path)
loaded = torch.load(path, weights_only=True)
print(loaded["x"], loaded["y"])
model = torch.nn.Linear(2, 2)
torch.save(model.state_dict(), path)
again = torch.nn.Linear(2, 2)
again.load_state_dict(torch.load(path))
print(all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters())))
