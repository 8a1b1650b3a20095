"""The optimizers of a package, found by what they are, not by a list of names.

Of torch's kind are the subclasses of torch.optim.Optimizer, of Keras's and MLX's those of their Optimizer; of
optax's kind are functions of a learning rate that make a gradient transformation, of tinygrad's those of
parameters, of JAX's examples those of a step size.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from ravine.checks.options import signature
from ravine.elsewhere import importable

__all__ = ["PACKAGES", "Found", "optimizers", "version_of"]

PACKAGES: Mapping[str, Sequence[str]] = {
    "torch": ("torch.optim",),
    "optax": ("optax", "optax.contrib"),
    "keras": ("keras.optimizers",),
    "jax": ("jax.example_libraries.optimizers",),
    "timm": ("timm.optim",),
    "pytorch_optimizer": ("pytorch_optimizer",),
    "torch_optimizer": ("torch_optimizer",),
    "optimi": ("optimi",),
    "heavyball": ("heavyball",),
    "schedulefree": ("schedulefree",),
    "transformers": ("transformers.optimization",),
    "bitsandbytes": ("bitsandbytes.optim",),
    "torchao": ("torchao.optim",),
    "mlx": ("mlx.optimizers",),
    "tinygrad": ("tinygrad.nn.optim",),
    "sklearn": ("sklearn.neural_network._stochastic_optimizers",),
    "prodigyopt": ("prodigyopt",),
    "dadaptation": ("dadaptation",),
    "lion_pytorch": ("lion_pytorch",),
    "adabelief_pytorch": ("adabelief_pytorch",),
    "adan_pytorch": ("adan_pytorch",),
    "adam_atan2_pytorch": ("adam_atan2_pytorch",),
    "adamp": ("adamp",),
    "came_pytorch": ("came_pytorch",),
    "dog": ("dog",),
    "dowg": ("dowg",),
    "galore_torch": ("galore_torch",),
    "apollo_torch": ("apollo_torch",),
    "madgrad": ("madgrad",),
    "sophia_opt": ("sophia_opt",),
    "pytorch_lamb": ("pytorch_lamb",),
    "pytorch_ranger": ("pytorch_ranger",),
    "ranger_adabelief": ("ranger_adabelief",),
    "adabound": ("adabound",),
    "adamod": ("adamod",),
    "grokadamw": ("grokadamw",),
    "labml_nn": (
        "labml_nn.optimizers.adam",
        "labml_nn.optimizers.adam_warmup",
        "labml_nn.optimizers.ada_belief",
        "labml_nn.optimizers.amsgrad",
        "labml_nn.optimizers.radam",
        "labml_nn.optimizers.sophia",
    ),
    "nadir": ("nadir",),
    "torchium": ("torchium.optimizers",),
}
"""Where packages have their optimizers. Any other package is looked for them at its top."""

_SWITCHES = ("amsgrad", "nesterov", "centered")
"""Options that amount to other rules: each is asked once more with one of them on."""
_ABSTRACT = ("Optimizer", "BaseOptimizer", "GenericAdaptiveOptimizer", "LossScaleOptimizer")


@dataclass(frozen=True)
class Found:
    """An optimizer of a package.

    name: "torch.optim:Adam", as `ravine check` takes it. arguments: what it is to be made with. aliases:
    its other names.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """Its arguments, as they are written in a call."""
        return ", ".join(f"{k}={v!r}" for k, v in self.arguments.items())

    @property
    def command(self) -> str:
        """What checks it alone."""
        args = f' --args "{self.written}"' if self.arguments else ""
        return f"ravine check {self.name}{args}"


def optimizers(package: str) -> list[Found]:
    """The optimizers of an installed package, in order of their names. Imports it; raises as that does."""
    made: dict[int, tuple[Any, list[str]]] = {}
    for place in PACKAGES.get(package, (package,)):
        importable(place)
        module = importlib.import_module(place)
        for name, value in sorted(vars(module).items()):
            if not name.startswith("_") and _is_optimizer(value, package):
                made.setdefault(id(value), (value, []))[1].append(f"{place}:{name}")
    found = []
    for value, names in made.values():
        own, home = getattr(value, "__name__", ""), value.__module__
        first = min(names, key=lambda n: (n != f"{home}:{own}", n[-len(own) :] != own, len(n), n))
        others = tuple(n for n in names if n != first)
        found += [Found(first, arguments, others) for arguments in _asked(value)]
    return sorted(found, key=lambda f: (f.name.lower(), f.written))


def version_of(package: str) -> str:
    """The version of the distribution that a package is from; "" where that is not known."""
    for name in (*packages_distributions().get(package, ()), package):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _is_optimizer(value: Any, package: str) -> bool:
    """Whether it makes optimizers, and is the package's own."""
    home = getattr(value, "__module__", None) or ""
    if home.partition(".")[0] != package or getattr(value, "__name__", "").startswith("_"):
        return False
    if isinstance(value, type):
        return value.__name__ not in _ABSTRACT and _is_class(value)
    return inspect.isfunction(value) and _is_maker(value)


def _is_class(value: type) -> bool:
    homes = {(b.__module__.partition(".")[0], b.__name__) for b in value.__mro__[1:]}
    known = {(p, "Optimizer") for p in ("torch", "keras", "mlx", "tinygrad")}
    if inspect.isabstract(value) or not any("__init__" in vars(b) for b in value.__mro__[:-1]):
        return False
    takes = [*inspect.signature(value).parameters]
    if homes & known:  # but for those of optimizers
        return not any("optimizer" in k for k in takes[:3])
    return value.__module__.startswith("sklearn.") and takes[:1] == ["params"]


def _is_maker(value: Any) -> bool:
    try:
        its = inspect.signature(value)
    except (TypeError, ValueError):
        return False
    first = next(iter(its.parameters), "")
    home = value.__module__
    if home.startswith("jax.example_libraries"):
        return first == "step_size" and hasattr(value, "__wrapped__")  # schedules are plain
    if home.startswith("tinygrad."):
        return first == "params"
    makes = its.return_annotation
    transforms = "GradientTransformation" in str(getattr(makes, "__name__", makes))
    return transforms and first == "learning_rate" and not value.__name__.startswith("scale_by")


def _asked(value: Any) -> Iterator[dict[str, Any]]:
    """What it is asked with: by default, once for each option that amounts to another rule, and fused."""
    yield {}
    takes = signature(value)
    for switch in _SWITCHES:
        if switch not in takes or takes[switch].default is not False:
            continue
        momentum = {"momentum": 0.9} if switch == "nesterov" and "momentum" in takes else {}
        yield {**momentum, switch: True}
    if "fused" in takes and takes["fused"].default in (None, False):
        yield {**({"momentum": 0.9} if "momentum" in takes else {}), "fused": True}
