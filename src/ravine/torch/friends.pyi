"""Written by scripts/make_stubs.py."""

from torch.optim.optimizer import ParamsT
from typing_extensions import Unpack

from ravine.torch.checks import How
from ravine.torch.classes import FromRule

__all__ = [
    "LAMB",
    "LARS",
    "QHM",
    "SGDP",
    "SGLD",
    "AdamEpsHat",
    "AdamP",
    "Adamw",
    "AggMo",
    "Amsgrad",
    "Fromage",
    "LAMBKozistr",
    "LAMBTimm",
    "LAMBv3",
    "LARSKozistr",
    "LARSOptax",
    "LARSTimm",
    "Lion",
    "Momentum",
    "MomentumClassical",
    "MomentumEMA",
    "Nadam",
    "Nesterov",
    "NesterovClassical",
    "NovoGrad",
    "Radam",
    "Rmsprop",
    "SignSGD",
    "Signum",
    "Tiger",
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

class AdamP(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
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

class AggMo(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.1,
        betas: tuple[float, ...] = ...,
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

class Fromage(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        **how: Unpack[How],
    ) -> None: ...

class LAMB(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMBKozistr(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMBTimm(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMBv3(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LARS(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class LARSKozistr(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class LARSOptax(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class LARSTimm(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 1e-08,
        **how: Unpack[How],
    ) -> None: ...

class Lion(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
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

class MomentumEMA(FromRule):
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

class NesterovClassical(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class NovoGrad(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        beta2: float = 0.98,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class QHM(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.999,
        nu: float = 0.7,
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

class SGDP(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.1,
        momentum: float = 0.9,
        dampening: float = 0.0,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class SGLD(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        temperature: float = 1.0,
        **how: Unpack[How],
    ) -> None: ...

class SignSGD(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class Signum(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class Tiger(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta: float = 0.965,
        weight_decay: float = 0.01,
        **how: Unpack[How],
    ) -> None: ...
