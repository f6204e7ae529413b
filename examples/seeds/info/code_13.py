"""With create_graph=True it is, and the second derivative follows."""

import gradverify.engine as torch


def get_tensor_info(tensor):
    info = []
    for name in ["requires_grad", "is_leaf", "retains_grad", "grad_fn", "grad"]:
        info.append(f"{name}({getattr(tensor, name)})")
    info.append(f"tensor({tensor!s})")
    return " ".join(info)


x = torch.tensor(5.0, requires_grad=True)
y = x**3
z = torch.log(y)

print("x", get_tensor_info(x))
print("y", get_tensor_info(y))
print("z", get_tensor_info(z))

z.backward(create_graph=True)

print("x_after_backward", get_tensor_info(x))
print("y_after_backward", get_tensor_info(y))
print("z_after_backward", get_tensor_info(z))

print("x.grad_after_backward", get_tensor_info(x.grad))

x_2nd_grad = torch.autograd.grad(x.grad, x)

print("x_2nd_grad", x_2nd_grad)
