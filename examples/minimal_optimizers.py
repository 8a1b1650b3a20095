"""Four optimizers in forty lines, and how training in PyTorch works.

A model's parameters are tensors. `loss.backward()` stores the gradient of each parameter p in p.grad:
how the loss would change if p grew. An optimizer is a class whose `step()` then moves every
parameter a little, so that the loss falls, and whose `zero_grad()` discards the gradients before
the next batch. That is all. The optimizers below differ in only one method, `update`.

Their results match torch.optim's to the last few bits. Run this file to see them train:

    python examples/minimal_optimizers.py
"""

import torch


class Optimizer:
    """Holds the parameters, the settings they share, and the state of each."""

    def __init__(self, params, **defaults):
        self.params = list(params)  # a generator could only be iterated over once
        self.defaults = defaults
        self.state = {p: {} for p in self.params}

    def grad_params(self):
        """Return the parameters on which the last loss depended."""
        return [p for p in self.params if p.grad is not None]

    @torch.no_grad()  # the updates are not part of the model
    def step(self):
        """Update each of these parameters once."""
        for p in self.grad_params():
            self.update(p, p.grad, self.state[p], **self.defaults)

    def zero_grad(self):
        """Discard the gradients; otherwise backward() would add to them."""
        for p in self.params:
            p.grad = None


class SGD(Optimizer):
    """Walk downhill: against the gradient."""

    def update(self, p, g, state, lr=1e-3):
        p -= lr * g


class SGDWithMomentum(Optimizer):
    """Roll downhill: keep most of the velocity, so that steps in one direction add up."""

    def update(self, p, g, state, lr=1e-3, momentum=0.9):
        b = state["b"] = momentum * state.get("b", 0) + g
        p -= lr * b


class RMSprop(Optimizer):
    """Divide by the gradient's usual size, so that steep and flat directions move alike."""

    def update(self, p, g, state, lr=1e-2, alpha=0.99, eps=1e-8):
        v = state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g**2
        p -= lr * g / (v.sqrt() + eps)


class Adam(Optimizer):
    """Do both: divide the mean of the gradient by the root of the mean of its square.

    The means start at zero, which makes them too small; dividing by 1 - beta**t corrects this.
    """

    def update(self, p, g, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        t = state["t"] = state.get("t", 0) + 1
        m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p -= lr * m_hat / (v_hat.sqrt() + eps)


def train(model, optimizer, batches):
    """Run the usual PyTorch training loop; return the loss of each batch."""
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    """Train a small network to compute the sine, once with each optimizer."""
    for optimizer in (SGD, SGDWithMomentum, RMSprop, Adam):
        torch.manual_seed(0)  # the same weights and the same batches for each
        model = torch.nn.Sequential(torch.nn.Linear(1, 50), torch.nn.Tanh(), torch.nn.Linear(50, 1))
        batches = [(x, torch.sin(x)) for x in 3 * torch.randn(500, 64, 1)]
        losses = train(model, optimizer(model.parameters(), lr=1e-2), batches)
        print(f"{optimizer.__name__:16} loss {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    main()
