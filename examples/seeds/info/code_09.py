"""An op of one's own: forward and backward by hand."""

import gradverify.engine as torch


def get_tensor_info(tensor):
    info = []
    for name in ["requires_grad", "is_leaf", "retains_grad", "grad_fn", "grad"]:
        info.append(f"{name}({getattr(tensor, name)})")
    info.append(f"tensor({tensor!s})")
    return " ".join(info)


class MyPow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input_1, input_2):
        ctx.save_for_backward(input_1, input_2)
        result = input_1**input_2
        return result

    @staticmethod
    def backward(ctx, grad_output):
        input_1, input_2 = ctx.saved_tensors
        grad_input_1 = grad_output * input_2 * input_1 ** (input_2 - 1)
        grad_input_2 = grad_output * input_1**input_2 * torch.log(input_1)
        print("input_1", input_1)
        print("input_2", input_2)
        print("grad_output", grad_output)
        print("grad_input_1", grad_input_1)
        print("grad_input_2", grad_input_2)
        return grad_input_1, grad_input_2


myPow = MyPow.apply

q = torch.tensor(3.0, requires_grad=True)
x = torch.tensor(5.0, requires_grad=True)
y = myPow(x, q)
z = torch.log(y)

print("q", get_tensor_info(q))
print("x", get_tensor_info(x))
print("y", get_tensor_info(y))
print("z", get_tensor_info(z))

z.backward()

print("q_after_backward", get_tensor_info(q))
print("x_after_backward", get_tensor_info(x))
print("y_after_backward", get_tensor_info(y))
print("z_after_backward", get_tensor_info(z))
