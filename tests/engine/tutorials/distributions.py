import torch
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

mu, sigma = torch.tensor(0.5, requires_grad=True), torch.tensor(2.0, requires_grad=True)
d = Normal(mu, sigma)
print(d.log_prob(torch.tensor(1.0)), d.entropy(), d.mean, d.stddev)
d.log_prob(torch.tensor(1.0)).backward()
print(mu.grad, sigma.grad, kl_divergence(d, Normal(0.0, 1.0)))
print(d.rsample((3,)).requires_grad, d.sample((3,)).requires_grad)
logits = torch.tensor([0.1, 0.2, 0.7], requires_grad=True)
c = Categorical(logits=logits)
action = c.sample()
loss = -c.log_prob(torch.tensor(2)) * 1.5
loss.backward()
print(c.probs, c.entropy(), logits.grad, action.shape)
print(Bernoulli(torch.tensor([0.3])).log_prob(torch.tensor([1.0])))
