"""Written by scripts/make_stubs.py."""

from typing import Any

from ravine.numpy.rule_optimizer import RuleOptimizer

__all__ = [
    "ADOPT",
    "CAME",
    "LAMB",
    "LARS",
    "MARS",
    "QHM",
    "SGDP",
    "SGLD",
    "SOAP",
    "ADOPTKozistr",
    "AMSGrad",
    "AMSGradKeras",
    "AMSGradOptax",
    "AdEMAMix",
    "AdaBelief",
    "AdaBeliefRectified",
    "AdaHessian",
    "AdaHessianPointwise",
    "AdaMuon",
    "AdaMuonKozistr",
    "AdafactorPaper",
    "AdagradKeras",
    "AdamAtan2",
    "AdamC",
    "AdamEpsHat",
    "AdamMini",
    "AdamP",
    "AdamaxKeras",
    "Adan",
    "AdanPaper",
    "AggMo",
    "Amos",
    "DAdaptAdam",
    "DAdaptAdamBiasCorrected",
    "DAdaptAdamPaper",
    "DAdaptSGD",
    "Dion",
    "DoG",
    "DoWG",
    "Fromage",
    "GaLore",
    "LAMBKozistr",
    "LAMBTimm",
    "LAMBv3",
    "LARSKozistr",
    "LARSOptax",
    "LARSTimm",
    "LDoG",
    "LaProp",
    "LaPropTimm",
    "Lion",
    "MARSLion",
    "MARSShampoo",
    "MARSTimm",
    "Momentum",
    "MomentumClassical",
    "MomentumEMA",
    "MuonHeavyball",
    "MuonJordan",
    "MuonMoonshot",
    "MuonOptax",
    "NAdamKeras",
    "NAdamOptax",
    "NAdamPaper",
    "NAdamTimm",
    "Nesterov",
    "NesterovClassical",
    "NorMuon",
    "NorMuonCode",
    "NovoGrad",
    "PSGDKron",
    "PolarExpress",
    "Prodigy",
    "ProdigyBiasCorrected",
    "ProdigyPaper",
    "QHAdam",
    "RAdamOptax",
    "RAdamPaper",
    "RAdamSkipping",
    "RMSpropKeras",
    "RMSpropTF",
    "ScheduleFreeAdamW",
    "ScheduleFreeAdamWPaper",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Scion",
    "ScionRMS",
    "ScionSign",
    "Shampoo",
    "SignSGD",
    "Signum",
    "Sophia",
    "SophiaG",
    "StableAdamW",
    "Tiger",
    "Yogi",
    "YogiPaper",
]

class ADOPT(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.9999,
        eps: float = 1e-06,
        clip_exp: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ADOPTKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.9999,
        eps: float = 1e-06,
        clip_exp: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AMSGrad(RuleOptimizer):
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

class AMSGradKeras(RuleOptimizer):
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

class AMSGradOptax(RuleOptimizer):
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

class AdEMAMix(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        beta3: float = 0.9999,
        alpha: float = 5.0,
        alpha_warmup: float = 0.0,
        beta3_warmup: float = 0.0,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaBelief(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-16,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaBeliefRectified(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-16,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaHessian(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaHessianPointwise(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaMuon(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-08,
        rms_scale: float = 0.2,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaMuonKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        beta1: float = 0.9,
        beta2: float = 0.95,
        eps: float = 1e-10,
        rms_scale: float = 0.2,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdafactorPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta2_decay: float = -0.8,
        eps1: float = 1e-30,
        eps2: float = 0.001,
        d: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdagradKeras(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        v0: float = 0.1,
        eps: float = 1e-07,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamAtan2(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        a: float = 1.27,
        b: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamC(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        lr_peak: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

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

class AdamMini(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamP(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamaxKeras(RuleOptimizer):
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

class Adan(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdanPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AggMo(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        betas: tuple[float, ...] = ...,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Amos(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta2: float = 0.999,
        eps: float = 2.350988701644575e-38,
        scale: float = 0.0,
        momentum: float = 0.0,
        zeta: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class CAME(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        beta3: float = 0.9999,
        eps1: float = 1e-30,
        eps2: float = 1e-16,
        d: float = 1.0,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptAdam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptAdamBiasCorrected(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptAdamPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptSGD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Dion(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        momentum: float = 0.95,
        rank: float = 768,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DoG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        reps_rel: float = 1e-06,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DoWG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        r_eps: float = 0.01,
        eps: float = 0.0001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Fromage(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class GaLore(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        rank: float = 128,
        every: float = 200,
        scale: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMB(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMBKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMBTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMBv3(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARS(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARSKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARSOptax(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARSTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LDoG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        reps_rel: float = 1e-06,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LaProp(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-15,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LaPropTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-15,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Lion(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARS(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        beta2: float = 0.99,
        gamma: float = 0.025,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARSLion(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0003,
        beta1: float = 0.95,
        gamma: float = 0.025,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARSShampoo(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        gamma: float = 0.025,
        ns_eps: float = 1e-08,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARSTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.003,
        beta1: float = 0.9,
        beta2: float = 0.99,
        gamma: float = 0.025,
        eps: float = 1e-08,
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

class MomentumEMA(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MuonHeavyball(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        momentum: float = 0.9,
        nesterov: bool = True,
        eps: float = 1e-07,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MuonJordan(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MuonMoonshot(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.95,
        nesterov: bool = True,
        rms_scale: float = 0.2,
        eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        weight_decay: float = 0.1,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MuonOptax(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_a: float = 3.4445,
        ns_b: float = -4.775,
        ns_c: float = 2.0315,
        eps: float = 1e-08,
        ns_steps: float = 5,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NAdamKeras(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-07,
        momentum_decay: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NAdamOptax(RuleOptimizer):
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

class NAdamPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.002,
        beta1: float = 0.99,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NAdamTimm(RuleOptimizer):
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

class NesterovClassical(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NorMuon(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        beta2: float = 0.95,
        eps: float = 1e-10,
        rms_scale: float = 0.2,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NorMuonCode(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        beta1: float = 0.95,
        beta2: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-10,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NovoGrad(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        beta2: float = 0.98,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class PSGDKron(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0003,
        beta1: float = 0.9,
        precond_lr: float = 0.1,
        least: float = 0.03,
        decay: float = 0.001,
        flat_start: float = 500,
        damping: float = 0.00034526698300124393,
        most: float = 1.1,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class PolarExpress(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        beta1: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Prodigy(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        safeguard_warmup: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ProdigyBiasCorrected(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        safeguard_warmup: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ProdigyPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class QHAdam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.995,
        beta2: float = 0.999,
        nu1: float = 0.7,
        nu2: float = 1.0,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class QHM(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.999,
        nu: float = 0.7,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class RAdamOptax(RuleOptimizer):
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

class RAdamPaper(RuleOptimizer):
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

class RAdamSkipping(RuleOptimizer):
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

class RMSpropKeras(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        alpha: float = 0.9,
        eps: float = 1e-07,
        centered: bool = False,
        momentum: float = 0.0,
        v0: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class RMSpropTF(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        alpha: float = 0.9,
        eps: float = 1e-10,
        centered: bool = False,
        momentum: float = 0.0,
        v0: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SGDP(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        momentum: float = 0.9,
        dampening: float = 0.0,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SGLD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        temperature: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SOAP(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        beta2: float = 0.95,
        shampoo_beta: float = 0.95,
        eps: float = 1e-08,
        every: float = 10,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeAdamW(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeAdamWPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeRAdam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        silent_sgd_phase: bool = True,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeSGD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Scion(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        alpha: float = 0.1,
        radius: float = 1.0,
        constrained: bool = True,
        eps: float = 1e-08,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScionRMS(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        alpha: float = 0.1,
        radius: float = 1.0,
        constrained: bool = True,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScionSign(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        alpha: float = 0.1,
        radius: float = 1.0,
        constrained: bool = True,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Shampoo(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        eps: float = 1e-06,
        every: float = 1,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SignSGD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Signum(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Sophia(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.965,
        beta2: float = 0.99,
        gamma: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SophiaG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.965,
        beta2: float = 0.99,
        rho: float = 0.04,
        bs: float = 5120.0,
        eps: float = 1e-15,
        weight_decay: float = 0.1,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class StableAdamW(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Tiger(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta: float = 0.965,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Yogi(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 0.001,
        v0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class YogiPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...
