"""Right optimizers of tensors, which the wrong ones are made of."""

import torch


class Momentum(torch.optim.Optimizer):
    """Weight decay through the gradient, and a buffer."""

    def __init__(self, params, lr=0.1, momentum=0.9, weight_decay=0.0, maximize=False):
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize},
        )

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, self.gradient(p, group), group)
        return loss

    def gradient(self, p, group):
        g = -p.grad if group["maximize"] else p.grad
        return g + group["weight_decay"] * p

    def move(self, p, g, group):
        b = self.state[p].get("b")
        b = self.state[p]["b"] = group["momentum"] * (0 if b is None else b) + g
        p -= group["lr"] * b


class Adam(Momentum):
    """With a count for each tensor."""

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        torch.optim.Optimizer.__init__(
            self, params, {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        )

    def gradient(self, p, group):
        return p.grad

    def count(self, p):
        self.state[p]["t"] = self.state[p].get("t", 0) + 1
        return self.state[p]["t"]

    def averages(self, p):
        its = self.state[p]
        if "m" not in its:
            its["m"], its["v"] = torch.zeros_like(p), torch.zeros_like(p)
        return its["m"], its["v"]

    def move(self, p, g, group):
        (m, v), t = self.averages(p), self.count(p)
        m.lerp_(g.to(m.dtype), 1 - group["beta1"])
        v.lerp_(g.to(v.dtype) ** 2, 1 - group["beta2"])
        root = (v / (1 - group["beta2"] ** t)).sqrt() + group["eps"]
        p -= (group["lr"] * m / (1 - group["beta1"] ** t) / root).to(p.dtype)
