"""Rejects what torch.optim's classes reject, naming the argument, its value, and what is accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import torch
from torch.nn.parameter import is_lazy

from ravine.engines.fused import check_engine, check_seed
from ravine.engines.narrow import EIGHT_BITS
from ravine.signature import nearest
from ravine.spellings import Spelling

__all__ = [
    "How",
    "HowAll",
    "Unusable",
    "check_offload",
    "check_options",
    "checked_groups",
    "checked_how",
    "checked_parameters",
]


class How(TypedDict, total=False):
    """How one of Ravine's optimizers takes its steps; keywords of every class.

    engine: "auto" uses a fused CPU kernel if the rule and the tensors allow it, and otherwise calls
    the rule; "kernel" raises an error instead of calling the rule; "eager" always calls the rule.

    state_dtype: the dtype of the state, such as torch.bfloat16; None for that of the parameter. "8bit"
    keeps the running means of parameters with 4,096 elements or more in 8 bits, with a scale for every 256
    elements and stochastic rounding, and other state in float32; `engine` lists both.

    stochastic_rounding: round bfloat16 and float16 up or down with probabilities that preserve the
    mean, instead of to nearest even. A number is the seed; True uses torch.initial_seed(). The same
    seed gives the same bits. Only with kernels.

    seed: the seed of the random numbers that a rule draws and, with stochastic_rounding=True, of
    the rounding; a whole number. Default 0 (torch.initial_seed() for stochastic rounding).

    grad_norm: whether the kernels also sum up the squared gradients, for `last_grad_norm`.

    gram: whether Newton-Schulz steps are computed on Gram matrices where a matrix is at least 2.5 times as
    long as it is wide. This takes up to half the time and differs by rounding: 2e-2 of the result in
    bfloat16, where it is 1e-2 otherwise, and 1e-14 in float64. Only with kernels, and for rules that use
    `newton_schulz`.

    flatten: whether the parameters, gradients and states that kernels step are moved, after the first step,
    into a few blocks of memory, in which each tensor has its place. Steps then take less time, above all
    with many small tensors, and have the same bits. `zero_grad()` fills gradients with zeros instead of
    setting them to None, so that they keep their places; `zero_grad(set_to_none=True)` gives them up until
    it is called without. Tensors whose memory is in view elsewhere stay where they are. `optimizer.engine`
    says what is flat, and why the rest is not. Only with kernels.

    offload: whether parameters on a GPU are stepped on the CPU, by its kernels, with the state in the host's
    memory. Gradients are copied there, and new parameters back, while other tensors are stepped; a rule with
    a sum over all tensors waits for all gradients. A copy of the parameters stays on the host. For bfloat16
    and float16 parameters it is in float32, is what is stepped, and is saved with the state, as
    "master_param"; the parameters are it, rounded to nearest. With stochastic_rounding it has the parameters'
    dtype. `optimizer.engine` says how many tensors are offloaded.
    """

    engine: Literal["auto", "kernel", "eager"]
    state_dtype: torch.dtype | Literal["8bit"] | None
    stochastic_rounding: bool | int
    seed: int
    grad_norm: bool
    gram: bool
    flatten: bool
    offload: bool


class HowAll(How, total=False):
    """Those, and one that most of torch's classes have as an option.

    capturable: whether counts, scalar state and whatever is computed from them stay on the GPU, so that the
    step waits for nothing and can be captured in a CUDA graph. Only for parameters on NVIDIA's GPUs, with
    kernels.
    """

    capturable: bool


class Unusable(ValueError, RuntimeError):
    """The error for what torch.optim rejects by a ValueError in one place and a RuntimeError in another."""


def check_options(options: Mapping[str, Any], name: str, differentiable: bool) -> None:
    """Reject options of torch's that have no meaning here, or contradict each other."""
    for switch in ("foreach", "fused", "capturable", "differentiable"):
        if not isinstance(options.get(switch), (int, type(None))):
            raise ValueError(
                f"{name}: {switch}={options[switch]!r} is invalid; {switch} must be True, False or None"
            )
    if options.get("fused") and options.get("foreach"):
        raise Unusable(
            f"{name}: fused=True and foreach=True are mutually exclusive; Ravine chooses its own engine, "
            "so leave both out"
        )
    if options.get("fused") and options.get("differentiable"):
        raise Unusable(
            f"{name}: fused=True and differentiable=True are mutually exclusive: autograd cannot see "
            "through a kernel; leave fused out"
        )
    if options.get("differentiable") and not differentiable:
        raise ValueError(
            f"{name}: differentiable=True in one param group is invalid; set it for all of them, as in "
            f"{name}(params, differentiable=True)"
        )
    if "amsgrad" in options and "betas" in options:  # Adam and AdamW are stricter than the others
        kinds = [isinstance(beta, torch.Tensor) for beta in options["betas"]]
        if any(kinds) and not all(kinds):
            raise ValueError(
                f"{name}: betas={options['betas']!r} is invalid; betas must be two numbers or two tensors"
            )
        tensors = ["betas"] * any(kinds) + ["lr"] * isinstance(options["lr"], torch.Tensor)
        if tensors and options.get("foreach") and not options.get("capturable"):
            raise ValueError(
                f"{name}: {tensors[0]}={options[tensors[0]]!r} with foreach=True is invalid; "
                "Ravine chooses its own engine, so leave foreach out"
            )


def check_offload(name: str, options: Mapping[str, Any]) -> None:
    """Reject options that contradict offload=True."""
    for switch, why in (
        ("capturable", "a CUDA graph has no steps on the CPU"),
        ("differentiable", "autograd cannot see through the copies"),
    ):
        if options.get(switch):
            raise ValueError(
                f"{name}: offload=True and {switch}=True are mutually exclusive: {why}"
            )


def checked_groups(params: Any, name: str) -> list[Any]:
    """The parameters, or their groups, as a list that is not empty."""
    accepted = (
        "an iterable of tensors, of (name, tensor) pairs or of dicts, such as model.parameters()"
    )
    if isinstance(params, (torch.Tensor, dict, str)) or not isinstance(params, Iterable):
        raise TypeError(f"{name}: params is a {type(params).__name__}; it must be {accepted}")
    groups = list(params)
    if not groups:
        raise ValueError(
            f"{name}: params is empty; it must be {accepted} that is not empty (or exhausted)"
        )
    return groups


def checked_parameters(
    group: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    spelling: Spelling,
    name: str,
    computed: bool,
) -> list[Any]:
    """The parameters of a new group: tensors, or (name, tensor) pairs, that can all be trained.

    others: the existing groups. computed: accept tensors that are not leaves.
    """
    given = group["params"]
    if isinstance(given, (set, frozenset)):
        raise TypeError(
            f"{name}: params is a {type(given).__name__}, whose order changes from run to run; it must be a "
            "list or another ordered iterable"
        )
    entries = [given] if isinstance(given, torch.Tensor) else list(given)
    named = [isinstance(entry, tuple) for entry in entries]
    if any(named) and not all(named):
        raise ValueError(
            f"{name}: params[{named.index(False)}] has no name and params[{named.index(True)}] has "
            "one; give (name, tensor) pairs for all, or for none"
        )
    names = any(named) or "param_names" in group
    for i, other in enumerate(others):
        if names != ("param_names" in other):
            has, lacks = ("the new one", f"number {i}") if names else (f"number {i}", "the new one")
            raise ValueError(
                f"{name}: of the param groups, {has} has parameter names and {lacks} does not; give names in "
                "all groups, or in none"
            )
    taken = {id(p): i for i, other in enumerate(others) for p in other["params"]}
    for i, entry in enumerate(entries):
        p = entry[1] if isinstance(entry, tuple) else entry
        if not isinstance(p, torch.Tensor):
            raise TypeError(f"{name}: params[{i}] is a {type(p).__name__}; parameters are tensors")
        shape = "a shape that is not known yet" if is_lazy(p) else f"shape {tuple(p.shape)}"
        which = f"{name}: params[{i}], of {shape},"
        if spelling.real and p.is_complex():
            raise Unusable(f"{which} has dtype {p.dtype}; parameters of this rule must be real")
        if id(p) in taken:
            raise ValueError(
                f"{which} is already in param group {taken[id(p)]}; a parameter cannot be in more "
                "than one parameter group"
            )
        if is_lazy(p):
            continue  # looked at in its first step
        if not (computed or p.is_leaf or p.retains_grad):
            raise ValueError(
                f"{which} is not a leaf: it was computed by "
                f"{p.grad_fn.name() if p.grad_fn else 'another tensor'}; parameters must be leaf "
                "tensors, made by nn.Parameter or detach().requires_grad_()"
            )
        if p.layout is not torch.strided:
            raise Unusable(
                f"{which} has layout {p.layout}; parameters must be dense (their gradients may be sparse)"
            )
        if p.is_conj() or p.is_neg():
            raise Unusable(
                f"{which} is a lazily conjugated or negated view; resolve it with "
                "resolve_conj().resolve_neg()"
            )
        spelling.check_parameter(p.shape)
    return entries


def checked_how(how: Mapping[str, Any], name: str, options: Iterable[str] = ()) -> dict[str, Any]:
    """The keywords of :class:`How`, complete.

    options: the other existing keywords, which may have been meant.
    """
    unknown = next((k for k in how if k not in HowAll.__annotations__), None)
    if unknown:
        names = [*HowAll.__annotations__]
        raise TypeError(
            f"{name}: unexpected keyword {unknown!r}{nearest(unknown, [*names, *options])}; besides its "
            f"hyperparameters it takes {', '.join(names)}"
        )
    engine = check_engine(how.get("engine", "auto"), name)
    dtype = how.get("state_dtype")
    floating = isinstance(dtype, torch.dtype) and dtype.is_floating_point
    if dtype is not None and not floating and not (isinstance(dtype, str) and dtype == EIGHT_BITS):
        raise ValueError(
            f"{name}: state_dtype={dtype!r} is invalid; it must be a floating-point torch.dtype, such "
            f"as torch.bfloat16, {EIGHT_BITS!r}, or None for the parameter's own"
        )
    rounding = how.get("stochastic_rounding", False)
    if not isinstance(rounding, int):
        raise ValueError(
            f"{name}: stochastic_rounding={rounding!r} is invalid; it must be True, False, or an int: "
            "the seed"
        )
    switches = {k: how.get(k, False) for k in ("gram", "flatten", "offload", "capturable")}
    for option, on in switches.items():
        if not isinstance(on, bool):
            raise ValueError(f"{name}: {option}={on!r} is invalid; it must be True or False")
        if on and engine == "eager" and option != "offload":
            raise ValueError(f"{name}: {option}=True needs kernels; engine='eager' has none")
    if switches["offload"] and switches["flatten"]:
        raise ValueError(
            f"{name}: offload=True and flatten=True are mutually exclusive: flatten moves parameters that "
            "are on the CPU"
        )
    result: dict[str, Any] = {
        "engine": engine,
        "state_dtype": dtype,
        "grad_norm": bool(how.get("grad_norm")),
        "stochastic": rounding is not False,
        **switches,
    }
    seed = how.get("seed")
    if rounding is not False:
        if engine == "eager":
            raise ValueError(f"{name}: stochastic_rounding needs kernels; engine='eager' has none")
        if rounding is not True and seed not in (None, rounding):
            raise ValueError(
                f"{name}: stochastic_rounding={rounding!r} and seed={seed!r} are mutually exclusive; give "
                "stochastic_rounding=True and the seed"
            )
        if seed is None:
            seed = torch.initial_seed() if rounding is True else rounding
    result["seed"] = check_seed(0 if seed is None else seed, name)
    return result
