"""torch.optim's classes, built from Ravine's rules, and a class from any rule.

Each class is a subclass of torch's, because programs test `isinstance(optimizer, torch.optim.AdamW)`.
None of the code of torch's class runs: RuleOptimizer comes before it, overrides its methods, and skips it
on the way to torch.optim.Optimizer. (mypy objects to a property that overrides an attribute of torch's,
`_step_supports_amp_scaling`.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from ravine import registry, spellings
from ravine.engines.eager import plan
from ravine.pickling import Derived
from ravine.rule import Rule
from ravine.rule import rule as as_rule
from ravine.signature import nearest
from ravine.spellings import options_of, spelling_of
from ravine.torch.checks import How, HowAll
from ravine.torch.rule_optimizer import RuleOptimizer
from ravine.torch.state import begun
from ravine.torch.tensors import dimensions

if TYPE_CHECKING:
    from torch.optim import Muon as _Muon
    from torch.optim.optimizer import ParamsT
    from typing_extensions import Unpack
else:
    _Muon = getattr(torch.optim, "Muon", torch.optim.Optimizer)  # torch's, from 2.9 on

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "optimizer",
]


class FromRule(RuleOptimizer):
    """The class that :func:`optimizer` creates from a rule.

    params: as of any torch optimizer. options: the rule's hyperparameters, and the keywords of
    :class:`HowAll`.
    """

    rule: ClassVar[Rule]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(
            cls
        ):  # a user's subclass, whose arguments differ from those of its base
            from inspect import signature

            own = signature(vars(cls)["__init__"])
            parameters = [*own.parameters.values()][1:]
            cls.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]

    def __init__(self, /, params: ParamsT, **options: Any) -> None:
        how: Any = {k: options.pop(k) for k in HowAll.__annotations__ if k in options}
        super().__init__(params, options_of(self.rule, options), **how)


def optimizer(rule: Rule | Callable[..., Any] | str, name: str = "") -> type[FromRule]:
    """A torch.optim.Optimizer class from a rule.

    rule: a Rule, a plain function with a rule's signature, or a name as :func:`ravine.get` takes it, such
    as "clip_by_norm(adamw, max_norm=0.5)". name: the class's name; by default
    the rule's, in CamelCase. The class takes the parameters and, as keywords, the rule's
    hyperparameters, in param groups as well. Raises RuleError if the function is not a rule.

    >>> import torch, ravine
    >>> from ravine.ops import sign
    >>> def sign_descent(p, g, *, lr=1e-3):
    ...     return p - lr * sign(g)
    >>> SignDescent = ravine.torch.optimizer(sign_descent)
    >>> opt = SignDescent([torch.zeros(3, requires_grad=True)], lr=0.1)
    """
    rule = registry.get(rule) if isinstance(rule, str) else rule
    made = rule if isinstance(rule, Rule) else as_rule(rule)
    defaults = made.parts.gathered({k: h.default for k, h in made.hyperparameters.items()})
    plan(
        made, made.values({})
    )  # a rule that cannot be traced is rejected here, not during training

    class Optimizer(FromRule, metaclass=Derived):
        rule, spelling = made, spelling_of(made)

    from inspect import Parameter, Signature

    keywords = [Parameter(k, Parameter.KEYWORD_ONLY, default=v) for k, v in defaults.items()]
    parameters = Parameter("params", Parameter.POSITIONAL_OR_KEYWORD)
    how = Parameter("how", Parameter.VAR_KEYWORD, annotation="Unpack[HowAll]")
    Optimizer.__signature__ = Signature([parameters, *keywords, how])  # type: ignore[attr-defined]
    spellings.present(Optimizer, made, name, optimizer)
    return Optimizer


class SGD(RuleOptimizer, torch.optim.SGD):  # type: ignore[override]
    """Gradient descent, with momentum, Nesterov's momentum and L2 regularisation.

    As torch.optim.SGD. lr: length of the step. momentum: share of the velocity kept. dampening:
    share of the gradient kept out of the velocity, from the second step on. weight_decay: L2.
    nesterov: look one velocity ahead; needs momentum > 0 and dampening = 0. maximize: climb.
    foreach, fused: accepted; Ravine chooses its own engine. differentiable: let autograd see
    through the steps. Rules: sgd, momentum, nesterov.
    """

    spelling = spellings.SGD

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | torch.Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        **how: Unpack[HowAll],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class RMSprop(RuleOptimizer, torch.optim.RMSprop):
    """RMSprop: the gradient over its root mean square; eps outside the root.

    As torch.optim.RMSprop. lr: length of the step. alpha: decay rate of the mean square. eps: added
    to the root. weight_decay: L2. momentum: share of the velocity kept. centered: divide by the
    standard deviation. maximize: climb. foreach: accepted; Ravine chooses its own engine.
    capturable: for CUDA graphs. differentiable: let autograd see through the steps.
    """

    spelling = spellings.RMSPROP

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class Adam(RuleOptimizer, torch.optim.Adam):  # type: ignore[override]
    """Adam; with amsgrad=True, AMSGrad; weight_decay is L2 unless decoupled_weight_decay.

    As torch.optim.Adam. lr: length of the step. betas: decay rates of the means of the gradient and
    of its square. eps: added to the root of the corrected mean square. maximize: climb. foreach,
    fused: accepted; Ravine chooses its own engine. capturable: for CUDA graphs. differentiable: let
    autograd see through the steps. Rules: adam, amsgrad.
    """

    spelling = spellings.ADAM

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float | torch.Tensor, float | torch.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class AdamW(Adam, torch.optim.AdamW):  # type: ignore[override]
    """Adam with decoupled weight decay: the weights shrink by lr * weight_decay, then step.

    As torch.optim.AdamW. lr: length of the step. betas: decay rates of the means of the gradient
    and of its square. eps: added to the root of the corrected mean square. weight_decay: decoupled.
    amsgrad: never let the denominator shrink. maximize: climb. foreach, fused: accepted; Ravine
    chooses its own engine. capturable: for CUDA graphs. differentiable: let autograd see through the
    steps. Rules: adam, amsgrad, with decoupled_decay.
    """

    spelling = spellings.ADAMW

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float | torch.Tensor, float | torch.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class NAdam(RuleOptimizer, torch.optim.NAdam):
    """NAdam: Adam with Nesterov's look ahead, and a momentum that warms up.

    As torch.optim.NAdam. lr: length of the step. betas: decay rates of the means of the gradient
    and of its square. eps: added to the root of the corrected mean square. weight_decay: L2 unless
    decoupled_weight_decay. momentum_decay: how fast the momentum warms up. maximize: climb.
    foreach: accepted; Ravine chooses its own engine. capturable: for CUDA graphs. differentiable: let
    autograd see through the steps. Rule: nadam.
    """

    spelling = spellings.NADAM

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class RAdam(RuleOptimizer, torch.optim.RAdam):
    """RAdam: Adam whose first steps, while its denominator is uncertain, are momentum's.

    As torch.optim.RAdam. lr: length of the step. betas: decay rates of the means of the gradient
    and of its square. eps: added to the root of the mean square. weight_decay: L2 unless
    decoupled_weight_decay. maximize: climb. foreach: accepted; Ravine chooses its own engine.
    capturable: for CUDA graphs. differentiable: let autograd see through the steps. Rule: radam.
    """

    spelling = spellings.RADAM

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class Adamax(RuleOptimizer, torch.optim.Adamax):
    """Adamax: Adam over the largest recent gradient instead of the root mean square.

    As torch.optim.Adamax. lr: length of the step. betas: decay rates of the mean of the gradient
    and of its largest size. eps: added to the size of each gradient. weight_decay: L2. maximize:
    climb. foreach: accepted; Ravine chooses its own engine. capturable: for CUDA graphs.
    differentiable: let autograd see through the steps. Rule: adamax.
    """

    spelling = spellings.ADAMAX

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class Adagrad(RuleOptimizer, torch.optim.Adagrad):  # type: ignore[override]
    """Adagrad: the gradient over the root of the sum of its squares.

    As torch.optim.Adagrad. lr: length of the step. lr_decay: lr falls as 1 / (1 + lr_decay * steps
    taken). weight_decay: L2. initial_accumulator_value: what the sum starts at. eps: added to the
    root. maximize: climb. foreach, fused: accepted; Ravine chooses its own engine. differentiable:
    let autograd see through the steps. Rule: adagrad.
    """

    spelling = spellings.ADAGRAD

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **how: Unpack[HowAll],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)

    def share_memory(self) -> None:
        """Move the sums into memory that processes share, for Hogwild; before the first step, too."""
        for group in self.param_groups:
            for p in group["params"]:
                begun(self, group, *self.planned(group, dimensions(p)), p)
                self.state[p]["sum"].share_memory_()


class Adadelta(RuleOptimizer, torch.optim.Adadelta):
    """Adadelta: the gradient, times the RMS of past steps over its own RMS.

    As torch.optim.Adadelta. lr: factor of the step. rho: decay rate of the means of the squared
    gradients and steps. eps: added to both means. weight_decay: L2. maximize: climb. foreach:
    accepted; Ravine chooses its own engine. capturable: for CUDA graphs. differentiable: let autograd
    see through the steps. Rule: adadelta.
    """

    spelling = spellings.ADADELTA

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class Rprop(RuleOptimizer, torch.optim.Rprop):
    """Rprop: step sizes that grow while a gradient keeps its sign, and shrink when it turns.

    As torch.optim.Rprop; for the gradient of all samples. lr: the first step size. etas: factors of
    a step size after a turn, and without. step_sizes: the smallest and the largest. maximize:
    climb. foreach: accepted; Ravine chooses its own engine. capturable: for CUDA graphs.
    differentiable: let autograd see through the steps. Rule: rprop.
    """

    spelling = spellings.RPROP

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class ASGD(RuleOptimizer, torch.optim.ASGD):
    """Averaged SGD: the mean of the weights from step t0 on is in the state, as "ax".

    As torch.optim.ASGD. lr: length of the first step. lambd: pull of the weights towards zero, and
    decay of lr. alpha: power with which lr falls. t0: the step at which the mean begins.
    weight_decay: L2. maximize: climb. foreach: accepted; Ravine chooses its own engine. capturable:
    for CUDA graphs. differentiable: let autograd see through the steps. Rule: asgd.
    """

    spelling = spellings.ASGD

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class Adafactor(RuleOptimizer, torch.optim.Adafactor):
    """Adafactor: steps relative to the weights, the squares of matrices kept by row and column.

    As torch.optim.Adafactor. lr: largest relative step, and factor of the decay. beta2_decay: power
    by which the mean of the squares gets longer. eps: the smallest size of a gradient (None: the
    epsilon of the dtype), and the size that smaller parameters count as. d: largest root mean
    square of a step. weight_decay: decoupled. maximize: climb. foreach: accepted; Ravine chooses
    its own engine. Rule: adafactor.
    """

    spelling = spellings.ADAFACTOR

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class Muon(RuleOptimizer, _Muon):
    """Muon: momentum whose steps have singular values near 1; for matrices only.

    As torch.optim.Muon. lr: length of the step. weight_decay: decoupled. momentum: share of the
    momentum kept. nesterov: look one momentum ahead. ns_coefficients, eps, ns_steps: of the
    Newton-Schulz iteration, which is computed in bfloat16. adjust_lr_fn: how lr depends on the
    shape, (rows, columns). "original" (also None): times sqrt(max(1, rows / columns)).
    "match_rms_adamw": times 0.2 sqrt(max(rows, columns)), with which AdamW's lr and weight_decay fit.
    "spectral_unclamped": times sqrt(rows / columns); torch.optim has it from 2.14 on. Rule: muon.
    """

    spelling = spellings.MUON

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw", "spectral_unclamped"] | None = None,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


class SparseAdam(RuleOptimizer, torch.optim.SparseAdam):
    """Adam for sparse gradients: only the rows that a gradient has are stepped.

    As torch.optim.SparseAdam; nn.Embedding(sparse=True) makes such gradients. lr: length of the
    step. betas: decay rates of the means of the gradient and of its square. eps: added to the root
    of the mean square, before the bias correction. maximize: climb. Rule: adam_eps_hat.
    """

    spelling = spellings.SPARSE_ADAM

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
        **how: Unpack[How],
    ) -> None:
        RuleOptimizer.__init__(self, params, spellings.options(locals()), **how)


def named(name: str) -> type[FromRule]:
    """The class of one of Ravine's rules, by name. Raises AttributeError if there is none."""
    rule = spellings.classes().get(name)
    if rule is None:
        raise AttributeError(
            f"module 'ravine.torch' has no attribute {name!r}{nearest(name, [*spellings.classes()])}"
        )
    made = optimizer(rule)
    made.__module__ = "ravine.torch"
    return made
