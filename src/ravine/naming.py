"""Names as people write them: what each means here, and how stacks of modifiers are written.

A rule has one name. Its other names in the literature are on its card, and its names in packages
follow from the witnesses on the cards; the rest is listed here. Case and punctuation do not matter:
"RMSprop", "rms_prop" and "RMSProp" are one name. A package may precede a name: "keras.Nadam".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = [
    "OPTIONS",
    "Call",
    "Meaning",
    "call",
    "meaning",
    "number",
    "parted",
    "plain",
    "setting",
    "split",
    "typo",
]

WORDS = {
    "rmsprop(momentum=0.9)": "RMSprop with momentum",
    "rmsprop(centered=True)": "centered RMSprop, RMSprop centered",
    "l2(adam)": "Adam with L2",
    "l2(sgd)": "SGD with L2",
    "decoupled_decay(amsgrad)": "AdamW with AMSGrad, AdamW AMSGrad",
    "decoupled_decay(adamax)": "AdamaxW",
    "decoupled_decay(nadam)": "NAdamW, NAdam with decoupled weight decay",
    "schedule_free_adamw": "Schedule-Free, Schedule Free",
    "decoupled_decay(radam)": "RAdamW, RAdam with decoupled weight decay",
}
"""Names of stacks and of rules with options, outside packages; a rule's own names are on its card."""

# Not covered by witnesses: stacks, and options that choose another rule.
_TORCH: dict[str, str | tuple[str, str]] = {
    "Muon": "decoupled_decay(muon, weight_decay=0.1, bfloat16=true)",
    "SparseAdam": "adam_eps_hat",
}
_KERAS: dict[str, str | tuple[str, str]] = {
    "Adafactor": ("adafactor_paper(lr=0.001)", "Keras keeps all squares besides"),
    "Adam with AMSGrad": "amsgrad_keras(eps=1e-7)",
    "AdamW": "decoupled_decay(adam_eps_hat, weight_decay=0.004, eps=1e-7)",
    "AdamW with AMSGrad": "decoupled_decay(amsgrad_keras, weight_decay=0.004, eps=1e-7)",
    "SGD with momentum": "momentum_classical(lr=0.01)",
    "SGD with Nesterov": "nesterov_classical(lr=0.01)",
}
_OPTAX: dict[str, str | tuple[str, str]] = {
    "adafactor": ("adafactor", "optax factors large matrices only, and has other defaults"),
    "adamaxw": "decoupled_decay(adamax, weight_decay=1e-4)",
    "nadamw": "decoupled_decay(nadam_optax, weight_decay=1e-4)",
    "rprop": ("rprop", "optax applies the update of the step before"),
    "sgd with momentum": "momentum",
    "sgd with Nesterov": "nesterov",
}
PACKAGES = {"torch.optim": _TORCH, "keras": _KERAS, "optax": _OPTAX}
"""The meanings of further names of a package, at its defaults; with a note if no rule here is equal."""

OPTIONS = {
    "learning_rate": "lr",
    "epsilon": "eps",
    **dict.fromkeys(("beta_1", "b1"), "beta1"),
    **dict.fromkeys(("beta_2", "b2"), "beta2"),
}
"""Keras's and optax's names of hyperparameters."""

_PREFIX = re.compile(  # keras.src.optimizers.adam.Adam is keras.Adam
    r"(?:(?P<torch>(?:py)?torch\W*optim|(?:py)?torch|optim)"
    r"|(?P<keras>(?:(?:tf|tensorflow)\W)?keras(?:\W*optimizers)?|(?:(?:tf|tensorflow)\W*)?optimizers)"
    r"|(?P<optax>optax(?:\W*contrib)?)"
    r"|ravine\W*(?:rules|torch|numpy)?)(?:\.\w+(?=\.))*[.\s_]+(?=\w)",
    re.IGNORECASE,
)
_WITH = re.compile(r"\+(?=\s*[^\W\d_])|\bw/")  # "SGD + momentum"; Adam+ is another optimizer
_FILLING = re.compile(r"optimi[sz]er|optimi[sz]ation|regulari[sz]ation|algorithm|method")


@dataclass(frozen=True)
class Meaning:
    """What a name means: an expression in Ravine's names, and a note, if there is one."""

    expression: str
    note: str = ""


def plain(name: str) -> str:
    """The name without case, punctuation, and words such as "optimizer".

    >>> plain("RMSPropOptimizer")
    'rmsprop'
    """
    text = re.sub(r"['’]s\b|^\s*the\s", "", unicodedata.normalize("NFKC", name).casefold())
    end = "-" * text.rstrip().endswith("-")  # Rprop- too
    text = "".join(c for c in _WITH.sub("with", text) if c.isalnum() or c == "+") + end
    return _FILLING.sub("", text) or text


def meaning(name: str, ours: Mapping[str, Any]) -> Meaning | None:
    """The meaning of a name that is not exactly a rule's name; None if it has none.

    ours: the rules by name; the other names on their cards count as well.
    """
    package, rest = parted(name)
    if package:
        known = _by_plain_name(package).get(plain(rest))
        if known:
            return _of_package(package, known)
        if package != "torch.optim":  # whose forms are those of the rules
            return None
    by_plain_name = {plain(own): own for own in ours}
    on_cards = {plain(n): own for own, rule in ours.items() for n in _listed(rule.card.names)}
    meanings = {**_words(), **on_cards, **by_plain_name}
    expression = meanings.get(plain(rest))
    if not expression:
        twice = re.fullmatch(r"([^()]*\S)\s*\(([^()]+)\)", rest)  # "Gradient Descent (GD)"
        same = {meanings.get(plain(half)) for half in twice.groups()} if twice else set()
        return meaning(twice[1], ours) if twice and len(same) == 1 and None not in same else None
    if package:
        return Meaning(expression)
    card = ours[expression].card if expression in ours else None
    ambiguous = card.note if card and plain(rest) not in by_plain_name else ""
    return Meaning(expression, ambiguous or _in_packages(rest, expression))


def parted(name: str) -> tuple[str, str]:
    """The package of PACKAGES that a name begins with, or "", and the rest of the name."""
    prefix = _PREFIX.match(name)
    package = prefix.lastgroup or "" if prefix else ""
    rest = name[prefix.end() :] if prefix else name
    return {"torch": "torch.optim"}.get(package, package), rest


def _of_package(package: str, name: str) -> Meaning:
    meant = PACKAGES[package][name]
    if isinstance(meant, tuple):
        expression, differs = meant
        note = f"{package}.{name} is not here; the nearest is {expression}. {differs}"
        return Meaning(expression, note)
    return Meaning(meant, f"{package}.{name} is {meant}" if "(" in meant else "")


def _in_packages(name: str, expression: str) -> str:
    """A note on a name that packages use, in this spelling, only for something else."""
    found = {p: _of_package(p, name) for p, names in PACKAGES.items() if name in names}
    if not found or any(meant.expression == expression for meant in found.values()):
        return ""
    return f"{name} is {expression} here; " + "; ".join(m.note for m in found.values())


@cache
def _by_plain_name(package: str) -> Mapping[str, str]:
    return {plain(name): name for name in PACKAGES[package]}


@cache
def _words() -> Mapping[str, str]:
    return {plain(name): rule for rule, names in WORDS.items() for name in _listed(names)}


def _listed(names: str) -> list[str]:
    return names.split(", ") if names else []


def known(ours: Mapping[str, Any]) -> list[str]:
    """Every other name of a rule or a stack."""
    on_cards = (rule.card.names for rule in ours.values())
    return [name for names in (*WORDS.values(), *on_cards) for name in _listed(names)]


# ---- stacks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A stack as written: head(inner, option=value); without inner, a rule and its options."""

    head: str
    inner: str | None
    options: tuple[tuple[str, float | bool], ...]


def call(text: str) -> Call | None:
    """Parse `head(inner, option=value)`; None if the text does not have that form.

    Raises ValueError if the contents of the parentheses cannot be read.

    >>> call("clip_by_norm(l2(adam), max_norm=0.5)")
    Call(head='clip_by_norm', inner='l2(adam)', options=(('max_norm', 0.5),))
    """
    if text.count("(") != text.count(")") and (":" not in text or text.endswith(")")):
        raise ValueError(f"{text!r} is invalid; its parentheses do not match")
    start = _opening(text)
    if start is None:
        return None
    inside = text[start + 1 : -1]
    arguments = [x.strip() for x in split(inside)] if inside.strip() else []
    inner = [x for x in arguments if not re.match(r"\w+\s*=", x)]
    if len(inner) > 1 or arguments[: len(inner)] != inner or "" in arguments:
        raise ValueError(
            f"{text!r} is invalid; write one rule and then options, as in "
            "clip_by_norm(adam, max_norm=0.5)"
        )
    options: dict[str, Any] = {}
    for argument in arguments[len(inner) :]:
        name, value = setting(argument)
        if name in options:
            raise ValueError(f"{text!r} sets {name} twice")
        options[name] = value
    return Call(text[:start].strip(), inner[0] if inner else None, tuple(options.items()))


def _opening(text: str) -> int | None:
    """The position of the parenthesis that the last character closes, if something precedes it."""
    depth = 0
    for place in range(len(text) - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth == 0:
            return place if text.endswith(")") else None
    return None


def split(text: str) -> list[str]:
    """Split at commas outside parentheses.

    >>> split("adam,clip_by_norm(sgd, max_norm=1)")
    ['adam', 'clip_by_norm(sgd, max_norm=1)']
    """
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def setting(
    text: str, tuples: Container[str] = ()
) -> tuple[str, float | bool | tuple[float | bool, ...]]:
    """NAME=VALUE as a name and a number or a bool, or as comma-separated numbers if the name is
    among `tuples`. Raises ValueError for anything else.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals):
        raise ValueError(f"{text!r} is invalid; write NAME=VALUE, such as lr=0.1")
    if name in tuples:
        parts = value.strip("()").removesuffix(",").split(",")
        return name, tuple(number(part.strip(), text) for part in parts)
    return name, number(value, text)


def number(value: str, where: str) -> float | bool:
    """A number, true or false. Raises ValueError, which says where it occurs."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{where!r}: {value!r} is not a number, true or false") from None


# ---- slips ---------------------------------------------------------------------------------------


OTHERS = """
AccSGD AdaBound AdaDelay AdaDiff AdaFisher AdaFOM AdaGC AdaGO AdaInject AdaLOMO AdaMod AdaMomentum
AdaNorm AdaNorma AdaPNM AdaPlus AdaS AdaShift AdaSmooth AdaTAM AdaX AGD Adai AdaiV2 Adalite Adam+
AdamBS AdamD AdamG AdamL AdamQ AdamS AdamSN AdamT AdamU AdamWR AdamWN AdamX AdamZ AEGD Alice AliG
Alig AMSBound Apollo ASGDW AvaGrad BSAM ConAdam DAdam DAdapt DiffGrad EAdam EmoNavi Eve EXAdam FAdam
Fira FOCUS Ftrl FTRL GrokFast Gravity HAdam Kate KFAC KL-Shampoo L2AdamW LBFGS LDAdam LOMO Lookahead
MADGRAD MSVAG NAdamax Nero NGD NormMuon OAdam OGD Optimistic-Adam PAdam PID PNM QAdam RACS Ranger
Ranger21 RLAM Rose SAdam SAM ScalableShampoo SGDF SGDW SGDSaI SSGD SimAdam SING SM3 SNSM SPAM SPlus
SRMM StableSPAM SWATS Sadam TAdam TAM VAdam VSGD WAdam WSAM XAdam YogiAdam Yadam
"""
"""Optimizers that Ravine does not have: their names are not typos of Ravine's."""


def typo(name: str, names: Iterable[str]) -> str:
    """'; did you mean "adam"?' if a name is a mistyped one of these; otherwise nothing.

    The name of another optimizer is not a typo, however close it is: Adan, AdamP, NAdamax.
    """
    given, names = plain(name), [*names]
    if not given or given in _others() or any(_variant(given, plain(other)) for other in names):
        return ""
    slips = [other for other in names if _slip(given, plain(other))]
    # Letters in the wrong order are the most common typo: "adma" is "adam".
    slips.sort(
        key=lambda other: (sorted(plain(other)) != sorted(given), _distance(given, plain(other)))
    )
    return f"; did you mean {slips[0]!r}?" if slips else ""


@cache
def _others() -> frozenset[str]:
    return frozenset(map(plain, OTHERS.split()))


def _variant(given: str, of: str) -> bool:
    """A letter before or after a name makes the name of a variant: CAdamW, SGDR, Rprop+."""
    before, after = given[1:] == of, given[:-1] == of
    return (before and given[:1] != of[:1]) or (after and given[-1:] != of[-1:])


def _slip(given: str, meant: str) -> bool:
    if max(len(given), len(meant)) < 4 and sorted(given) != sorted(meant):
        return False
    if given[-1].isdigit() and not meant[-1].isdigit():  # another version
        return False
    distance = _distance(given, meant)
    far = 2 if len(meant) >= 10 or sorted(given) == sorted(meant) else 1
    return distance <= far


def _distance(a: str, b: str) -> int:
    """The number of letters to add, drop, replace, or swap with their neighbour."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row, older = row, [i], before
        for j, y in enumerate(b, 1):
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, older[j - 2] + 1)
            row.append(best)
        before = above
    return row[-1]
