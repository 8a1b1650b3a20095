import re
import time

import numpy as np
import pytest
from checks.public_faults import FAULTS, Adam, AdamW

from ravine.checks import check_optimizer
from ravine.checks.candidates import claims, decay_from_two, family
from ravine.checks.fitting import fitted, recognised
from ravine.checks.probe import LOUD, distance, probe, unit
from ravine.checks.registry import Context
from ravine.checks.subjects import subject
from ravine.checks.wrong import faults, run
from ravine.engines.batch import Batch
from ravine.engines.tracing import trace
from ravine.rules import adam, lion, momentum, soap


def found(make, like=None, **given):
    return Context(subject(make, given), like).identity


def test_right_ones_are_right():
    assert (found(Adam).verdict, found(Adam).rule) == ("right", "adam")
    assert (found(AdamW, "adamw").verdict, found(AdamW).rule) == ("right", "adamw")


def test_faults_that_were_found_in_public_are_explained():
    assert len(FAULTS) == 24
    for fault in FAULTS:
        like = "adamw" if issubclass(fault, AdamW) else "adam"
        its = found(fault, like)
        assert its.verdict in ("fault", "other numbers"), fault
        assert re.search(fault.says, its.says), (fault, its.says)
        assert its.distance < 1e-9, fault
        assert its.evidence, fault


def test_a_convention_is_a_variant_unless_a_rule_is_asked_for():
    from checks.public_faults import EpsInside

    assert found(type("Adam", (EpsInside,), {})).verdict == "variant"
    assert found(EpsInside, "adam").verdict == "fault"


def test_a_rule_under_another_name():
    class RMSprop(Adam): ...

    its = found(RMSprop)
    assert its.verdict == "another rule"
    assert "not rmsprop, but adam" in its.says
    assert found(Adam, "lion").verdict == "fault"


def test_what_nothing_explains_ends_at_the_deadline():
    class Adam_(Adam):
        def moved(self, p, m, v):
            return p - self.lr * np.tanh(m) * np.cos(v) ** 3

    begun = time.process_time()
    its = Context(subject(Adam_), None, seconds=1.0).identity
    assert its.verdict == "unknown"
    assert its.late
    assert time.process_time() - begun < 6
    assert "leaves adam" in its.evidence[0]


def test_a_switch_that_is_ignored_is_told():
    class Amsgrad(Adam):
        def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False):
            super().__init__(lr, beta1, beta2, eps)

    for given, says in (
        ({}, "is accepted and ignored"),
        ({"amsgrad": True}, "has no effect with the given arguments"),
    ):
        report = check_optimizer(type("Adam", (Amsgrad,), {}), arguments=given)
        assert report.finding.verdict == "right"
        assert {r.says for r in report.faults} == {f"amsgrad {says}"}


def test_a_number_that_is_ignored_is_told():
    class Plain:
        def __init__(self, lr=0.1, momentum=0.9, dampening=0.1, eps=1e-8, threshold=3.0):
            self.lr = lr

        def update(self, params, grads):
            return [p - self.lr * g for p, g in zip(params, grads, strict=True)]

    its = found(Plain)
    assert (its.verdict, its.says) == ("fault", "momentum, dampening are accepted and ignored")
    (fault,) = check_optimizer(Plain, only=["every_option_counts"]).faults
    assert (fault.says, fault.evidence) == (
        "momentum, dampening are accepted and ignored",
        ["no effect seen of eps, threshold either"],
    )


def test_single_precision_is_told():
    class Adam32(Adam):
        def update(self, params, grads):
            its = [p.astype(np.float32) for p in params]
            super().update(its, [g.astype(np.float32) for g in grads])
            return [p.astype(float) for p in its]

    its = found(Adam32, "adam")
    assert its.verdict == "single precision"
    assert its.good


def test_the_w_of_a_name_says_that_the_decay_is_decoupled():
    class SGDW:
        def __init__(self, lr=0.1, weight_decay=0.01):
            self.lr, self.weight_decay = lr, weight_decay

        def update(self, params, grads):
            shrunk = [(1 - self.lr * self.weight_decay) * p for p in params]
            return [p - self.lr * g for p, g in zip(shrunk, grads, strict=True)]

    its = check_optimizer(SGDW, only=["identity"]).finding
    assert (its.verdict, its.rule) == ("right", "sgd + decoupled decay")

    class MomentumW:
        def __init__(self, lr=0.1, momentum=0.9, weight_decay=0.01):
            self.lr, self.momentum, self.weight_decay, self.b = lr, momentum, weight_decay, None

        def update(self, params, grads):
            self.b = self.b or [0] * len(params)
            pulled = [g + self.weight_decay * p for p, g in zip(params, grads, strict=True)]
            self.b = [self.momentum * b + g for b, g in zip(self.b, pulled, strict=True)]
            return [p - self.lr * b for p, b in zip(params, self.b, strict=True)]

    its = check_optimizer(MomentumW, only=["identity"]).finding
    assert its.verdict == "another rule"
    assert "not momentum + decoupled decay, but momentum + L2 decay" in its.says


def test_an_optimizer_that_fails_in_float64_is_checked_in_float32():
    torch = pytest.importorskip("torch")

    class Momentum(torch.optim.SGD):
        def __init__(self, params, lr=0.1, momentum=0.9):
            super().__init__(params, lr=lr, momentum=momentum)

        def step(self, closure=None):
            assert all(p.dtype == torch.float32 for p in self.param_groups[0]["params"])
            return super().step(closure)

    report = check_optimizer(Momentum)
    assert report.code == 0, str(report)
    assert (report.verdict, report.finding.rule) == ("single precision", "momentum")
    result = {r.check: r.verdict for r in report.results}
    assert (result["float64_stays_float64"], result["resumes"]) == ("skipped", "pass")


class AdamWOfTransformers:
    """As transformers had it: eps before the bias correction, the decay after the step."""

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
        self.lr, self.betas, self.eps, self.weight_decay, self.t = lr, betas, eps, weight_decay, 0

    def update(self, params, grads):
        self.t += 1
        if self.t == 1:
            self.m, self.v = [0] * len(params), [0] * len(params)
        (b1, b2), new = self.betas, []
        size = self.lr * np.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
            p = p - size * self.m[i] / (np.sqrt(self.v[i]) + self.eps)
            new.append(p - self.lr * self.weight_decay * p)
        return new


def test_two_conventions_are_a_variant():
    its = found(type("AdamW", (AdamWOfTransformers,), {}))
    assert its.verdict == "variant"
    assert "after the step" in its.says
    assert found(AdamWOfTransformers, "adamw").verdict == "fault"


class DoWG:
    """As in the package dowg: eps is also the square of the first distance, and sums are in float32."""

    def __init__(self, eps=1e-4):
        self.eps, self.r2, self.v, self.first = eps, float(np.float32(eps)), 0.0, None

    def update(self, params, grads):
        self.first = self.first or [p.copy() for p in params]
        far = sum(((p - q) ** 2).sum() for p, q in zip(params, self.first, strict=True))
        self.r2 = float(np.float32(max(self.r2, far)))
        self.v = float(np.float32(self.v + self.r2 * sum((g**2).sum() for g in grads)))
        size = self.r2 / (np.sqrt(self.v) + self.eps)
        return [p - size * g for p, g in zip(params, grads, strict=True)]


def test_a_number_that_hardly_shows_acts_as_asked():
    its = found(DoWG)
    assert its.good, str(its)
    assert "r_eps" in its.says


def test_names_claim_rules():
    for name, rules in {
        "mine.py:MyAdamW": ["adamw"],
        "AdamCorrectedTwice": ["adam"],
        "mine:adam_step": ["adam"],
        "SGDWithMomentum": ["momentum"],
        "NAdamOptimizer": ["nadam"],
        "mine.py:RAdamW": ["radam"],
        "SGDW": ["sgd"],
        "AdamWScheduleFree": ["schedule_free_adamw"],
        "torch.optim:Adam": ["adam", "amsgrad"],
        "keras.optimizers.Adam": ["adam_eps_hat", "amsgrad_keras"],
        "Thing": [],
    }.items():
        assert claims(name, {}) == rules, name
    assert claims("SGD", {"momentum": 0.9}) == ["momentum"]
    assert claims("SGD", {"momentum": 0.9, "nesterov": True}) == ["nesterov"]
    assert claims("optax:adam", {"nesterov": True}) == ["nadam"]
    assert "adam_eps_hat" in family("adam")
    assert "adam" in family("adam_eps_hat")


def test_hyperparameters_are_fitted():
    values = {k: LOUD[k] for k in adam.hyperparameters}
    graph = trace(adam, **values)
    path = run(Batch(graph), probe(), {**values, "lr": 0.05, "beta1": 0.6, "eps": 0.03})[0]
    its, apart = fitted(Batch(graph), probe(), path, values)
    assert apart < 1e-9
    assert its == pytest.approx({**values, "lr": 0.05, "beta1": 0.6, "eps": 0.03})
    assert recognised(10.0, {"beta1": 0.9}) == "1/(1 − beta1)"
    assert recognised(-1.9, {"momentum": 0.9}) == "−(1 + momentum)"
    assert recognised(0.123, {"beta1": 0.9}) == ""


def test_the_probe_tells_every_fault_from_the_rule():
    """Or the fault is none: |g| stands for g where g is squared."""
    for rule, least in ((adam, 250), (momentum, 60), (lion, 120)):
        values = {k: LOUD[k] for k in rule.hyperparameters}
        graph = trace(rule, **values)
        right = run(Batch(graph), probe(), values)[0]
        same = []
        every = list(faults(graph))
        for wrong in every:
            batch = Batch(wrong.graph, wrong.start)
            path = run(batch, probe(), values, wrong.driver, like=right, tolerance=1e-5)[0]
            if len(path) == len(right) and distance(path, right) < 1e-9:
                same.append(wrong.says)
        assert len(every) > least
        assert all(re.search(r"\||g has the wrong sign|sign|t ", says) for says in same), same


def test_the_probe_is_in_general_position():
    its = probe()
    assert its.starts.shape == (3, 4, 6)
    assert len(np.unique(its.grads[0])) > 60
    assert unit(np.ones((3, 2)) / 3) < 1e-15
    assert unit((np.ones((3, 2)) / 3).astype(np.float32).astype(float)) > 1e-8
    numbers = sorted(LOUD.values())
    assert LOUD["lr"] != 1 - LOUD["beta2"]
    assert len(numbers) > 15


def test_soap_as_others_have_it_is_identified(monkeypatch):
    """Its shampoo_beta is beta2, it decays after each step but the first, and its QR is in float32."""
    torch = pytest.importorskip("torch")
    import ravine.torch

    made, qr = ravine.torch.optimizer(decay_from_two(soap)), torch.linalg.qr

    class SOAP(made):
        def __init__(self, params, lr=3e-3, betas=(0.95, 0.95), eps=1e-8, weight_decay=1e-2):
            its = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
            super().__init__(params, **its, shampoo_beta=betas[1], engine="eager")

    for rounded in (False, True):
        if rounded:
            single = lambda x: tuple(q.double() for q in qr(x.float()))  # noqa: E731
            monkeypatch.setattr(torch.linalg, "qr", single)
        its = found(SOAP)
        assert its.rule == "soap + decay after each step but the first"
        assert its.verdict == ("single precision" if rounded else "right")


RELEASED = """
class {name}:
    t, m, v = 0, 0, 0

    def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps

    def update(self, p, g):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        root = (self.v / (1 - self.beta2**self.t)) ** 0.5
        return p - self.lr * self.m / (1 - self.beta1) / (root + self.eps)
"""


def test_a_released_method_of_another_name_is_not_called_wrong(tmp_path):
    for place, name, verdict in (
        ("site-packages", "Quick", "unknown"),
        ("site-packages", "QuickAdam", "fault"),
        ("mine", "Quick", "fault"),
    ):
        file = tmp_path / place / f"{place[:4]}_{name.lower()}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(RELEASED.format(name=name))
        its = found(f"{file}:{name}")
        assert its.verdict == verdict, its
        assert "the exponent t is missing" in its.says
