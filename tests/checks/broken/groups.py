import torch
from checks.broken.right_torch import Adam, Momentum


class OneLrForAll(Momentum):
    caught_by = "groups_stand_alone"

    def move(self, p, g, group):
        super().move(p, g, self.param_groups[0])


class MomentumOfOldLr(Momentum):
    caught_by = "schedules_act_at_once"

    def move(self, p, g, group):
        super().move(p, g, {**group, "lr": self.state[p].setdefault("lr", group["lr"])})


class RoundsTensors(Momentum):
    caught_by = "lr_as_a_tensor"

    def move(self, p, g, group):
        lr = group["lr"]
        super().move(p, g, {**group, "lr": lr.bfloat16() if torch.is_tensor(lr) else lr})


class OneCount(Adam):
    """All parameters are as old as the optimizer."""

    caught_by = "late_parameters"

    def step(self, closure=None):
        self.t = getattr(self, "t", 0) + 1
        return super().step(closure)

    def count(self, p):
        return self.t


class MovesOn(Momentum):
    """A gradient that is missing is taken for zeros."""

    caught_by = "missing_gradients"

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is None and "b" in self.state[p]:
                        self.move(p, torch.zeros_like(p), group)
                    self.state[p].setdefault("b", torch.ones_like(p))
        return loss

    def move(self, p, g, group):
        self.state[p].setdefault("b", torch.zeros_like(p))
        super().move(p, g, group)


class RefusesFrozen(Momentum):
    caught_by = "frozen_parameters"

    def add_param_group(self, group):
        super().add_param_group(group)
        if not all(p.requires_grad for p in self.param_groups[-1]["params"]):
            raise ValueError("a parameter needs no gradient")
