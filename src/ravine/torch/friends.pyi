"""Written by scripts/make_stubs.py."""

from torch.optim.optimizer import ParamsT
from typing_extensions import Unpack

from ravine.torch.checks import How
from ravine.torch.classes import FromRule

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

class AdamEpsHat(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Adamw(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Amsgrad(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Asgd(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        **how: Unpack[How],
    ) -> None: ...

class Momentum(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        dampening: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class MomentumClassical(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class MomentumEma(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        betas: tuple[float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Nadam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Nesterov(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class Radam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Rmsprop(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        centered: bool = False,
        momentum: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class Sgd(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...
