"""Written by scripts/make_stubs.py."""

from typing import Any

from ravine.numpy.rule_optimizer import RuleOptimizer

__all__ = [
    "AdamEpsHat",
    "Adamw",
    "Amsgrad",
    "Asgd",
    "Momentum",
    "MomentumClassical",
    "MomentumEma",
    "Nadam",
    "Nesterov",
    "Radam",
    "Rmsprop",
    "Sgd",
]

class AdamEpsHat(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Adamw(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Amsgrad(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Asgd(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Momentum(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        dampening: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MomentumClassical(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MomentumEma(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Nadam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Nesterov(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Radam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Rmsprop(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        centered: bool = False,
        momentum: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Sgd(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...
