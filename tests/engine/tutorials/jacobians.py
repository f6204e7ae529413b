import torch
from torch.autograd.functional import hessian, hvp, jacobian, jvp, vhp, vjp
from torch.func import hessian as func_hessian, jacfwd, jacrev, vmap


def f(x):
    return torch.stack([x[0] ** 2 * x[1], torch.sin(x[1])])


x = torch.tensor([1.0, 2.0])
print(jacobian(f, x), jacrev(f)(x), jacfwd(f)(x))


def g(x):
    return (x**3).sum() + x[0] * x[1]


print(hessian(g, x), func_hessian(g)(x))
v = torch.tensor([1.0, -1.0])
print(vjp(f, x, v)[1], jvp(f, x, v)[1], hvp(g, x, v)[1], vhp(g, x, v)[1])
print(vmap(jacrev(f))(torch.stack([x, 2 * x])))
