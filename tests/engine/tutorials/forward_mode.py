import torch
import torch.autograd.forward_ad as fwAD
from torch.func import jvp


def fn(x, y):
    return x**2 + y**2


primal, tangent = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5])
with fwAD.dual_level():
    dual_input = fwAD.make_dual(primal, tangent)
    plain = torch.ones(2)
    dual_output = fn(dual_input, plain)
    print(fwAD.unpack_dual(dual_output).tangent, fwAD.unpack_dual(plain).tangent)
print(fwAD.unpack_dual(dual_output).tangent)
print(jvp(torch.sin, (primal,), (tangent,)))


class Fn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, foo):
        result = torch.exp(foo)
        ctx.result = result
        return result

    @staticmethod
    def jvp(ctx, gI):
        gO = gI * ctx.result
        del ctx.result
        return gO


with fwAD.dual_level():
    print(fwAD.unpack_dual(Fn.apply(fwAD.make_dual(primal, tangent))).tangent)
