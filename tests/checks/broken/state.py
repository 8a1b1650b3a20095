import torch
from checks.broken.right_torch import Adam, Momentum


class KeepsFunctions(Momentum):
    caught_by = "saves"

    def move(self, p, g, group):
        super().move(p, g, group)
        self.state[p]["schedule"] = lambda t: 1 / t


class CountsForItself(Adam):
    caught_by = "resumes"

    def step(self, closure=None):
        self.t = getattr(self, "t", 0) + 1
        return super().step(closure)

    def count(self, p):
        return self.t


class KeepsSingle(Adam):
    """Averages in float32 for bfloat16 parameters, which torch's load_state_dict rounds to bfloat16."""

    caught_by = "state_keeps_its_dtype"

    def averages(self, p):
        its, dtype = self.state[p], torch.promote_types(p.dtype, torch.float32)
        if "m" not in its:
            its["m"], its["v"] = (torch.zeros_like(p, dtype=dtype) for _ in "mv")
        return its["m"], its["v"]


class LoadsByPosition(Momentum):
    caught_by = "resumes_reordered"

    def load_state_dict(self, saved):
        every = [p for group in self.param_groups for p in group["params"]]
        for p, its in zip(every, saved["state"].values(), strict=True):
            self.state[p] = its


class ForgetsItsCount(Adam):
    """Copies begin at the count of the class: torch's __getstate__ leaves out what it does not know."""

    caught_by = "deep_copies"
    t = 0

    def count(self, p):
        self.t = self.t + 1
        return 1 + self.t // len(self.param_groups[0]["params"])


class ForgetsWhenPickled(Momentum):
    caught_by = "pickles"

    def __reduce__(self):
        its = self.param_groups[0]
        return type(self), (its["params"], its["lr"], its["momentum"], its["weight_decay"])
