"""torch.optim's classes for NumPy arrays, built from Ravine's rules, and a class from any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ravine import registry, spellings
from ravine.engines.eager import plan
from ravine.numpy.rule_optimizer import RuleOptimizer
from ravine.pickling import Derived
from ravine.rule import Rule
from ravine.rule import rule as as_rule
from ravine.signature import nearest
from ravine.spellings import spelling_of, unpaired

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
    "optimizer",
]


def optimizer(rule: Rule | Callable[..., Any] | str, name: str = "") -> type[RuleOptimizer]:
    """An optimizer class for NumPy arrays from a rule.

    rule: a Rule, a plain function with a rule's signature, or a name as :func:`ravine.get` takes it, such
    as "clip_by_norm(adamw, max_norm=0.5)". name: the class's name; by default
    the rule's, in CamelCase. Raises RuleError if the function is not a rule.

    >>> import ravine.numpy, numpy as np
    >>> from ravine.ops import sign
    >>> def sign_descent(p, g, *, lr=1e-3):
    ...     return p - lr * sign(g)
    >>> SignDescent = ravine.numpy.optimizer(sign_descent)
    >>> w = np.zeros(3)
    >>> SignDescent({"w": w}, lr=0.1).step({"w": np.array([1.0, -2.0, 0.0])})
    {'w': array([-0.1,  0.1,  0. ])}
    """
    rule = registry.get(rule) if isinstance(rule, str) else rule
    made = rule if isinstance(rule, Rule) else as_rule(rule)
    plan(made, made.check())

    class Optimizer(RuleOptimizer, metaclass=Derived):
        spelling = spelling_of(made)

        def __init__(
            self,
            /,
            params: Any,
            *,
            engine: str = "auto",
            seed: int = 0,
            **hyperparameters: Any,
        ) -> None:
            super().__init__(params, unpaired(made, hyperparameters), engine, seed)

    spellings.present(Optimizer, made, name, optimizer)
    return Optimizer


class SGD(RuleOptimizer):
    """Gradient descent, with momentum, Nesterov's momentum and L2 regularisation (weight_decay)."""

    spelling = spellings.SGD

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class RMSprop(RuleOptimizer):
    """The gradient over its root mean square; options as in torch.optim.RMSprop."""

    spelling = spellings.RMSPROP

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adam(RuleOptimizer):
    """Adam, or AMSGrad with amsgrad=True; weight_decay is L2."""

    spelling = spellings.ADAM

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class AdamW(RuleOptimizer):
    """Adam with decoupled weight decay; the options are those of Adam."""

    spelling = spellings.ADAMW

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class NAdam(RuleOptimizer):
    """Adam with Nesterov's look ahead; options as in torch.optim.NAdam."""

    spelling = spellings.NADAM

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class RAdam(RuleOptimizer):
    """Adam with a rectified denominator; options as in torch.optim.RAdam."""

    spelling = spellings.RADAM

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adamax(RuleOptimizer):
    """Adam over the largest recent gradient; options as in torch.optim.Adamax."""

    spelling = spellings.ADAMAX

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adagrad(RuleOptimizer):
    """The gradient over the root of the sum of its squares; options as in torch.optim.Adagrad."""

    spelling = spellings.ADAGRAD

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adadelta(RuleOptimizer):
    """The gradient, times the RMS of past steps over its own RMS; options as in torch.optim.Adadelta."""

    spelling = spellings.ADADELTA

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Rprop(RuleOptimizer):
    """Step sizes by the signs of the gradient; options as in torch.optim.Rprop."""

    spelling = spellings.RPROP

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class ASGD(RuleOptimizer):
    """Descent whose weights are averaged, in the state `ax`; options as in torch.optim.ASGD."""

    spelling = spellings.ASGD

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adafactor(RuleOptimizer):
    """Relative steps, the squares kept by row and column; options as in torch.optim.Adafactor."""

    spelling = spellings.ADAFACTOR

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Muon(RuleOptimizer):
    """Momentum with singular values near 1, for matrices; options as in torch.optim.Muon.

    Computed in the precision of the arrays, where torch has bfloat16.
    """

    spelling = spellings.MUON_IN_FULL

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


def named(name: str) -> type[RuleOptimizer]:
    """The class of one of Ravine's rules, by name. Raises AttributeError if there is none."""
    rule = spellings.classes().get(name)
    if rule is None:
        raise AttributeError(
            f"module 'ravine.numpy' has no attribute {name!r}{nearest(name, [*spellings.classes()])}"
        )
    made = optimizer(rule)
    made.__module__ = "ravine.numpy"
    return made
