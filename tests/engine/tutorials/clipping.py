import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters

p, q = torch.nn.Parameter(torch.tensor([3.0, 4.0])), torch.nn.Parameter(torch.tensor([12.0]))
(p**2).sum().backward()
(q**2).sum().backward()
print(clip_grad_norm_([p, q], max_norm=1.0), p.grad, q.grad)
p.grad.fill_(10)
clip_grad_value_([p], 0.5)
print(p.grad, clip_grad_norm_([p, q], 5.0, norm_type=float("inf")))
p.grad[0] = float("nan")
try:
    clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
except RuntimeError as error:
    print(str(error)[:60])
vector = parameters_to_vector([p, q])
vector_to_parameters(vector * 2, [p, q])
print(vector, p, q)
