"""Finds rules by name: those in `ravine.rules`, those of other packages, and those in your files.

A name may be one that people use ("RMSprop", "keras.Nadam", "heavy ball"), may have options
("nadam(beta1=0.8)"), and may be a stack of modifiers ("clip_by_norm(l2(adam), max_norm=0.5)"). Your
own rule is "path/to/file.py:name", which runs that file, or "module:name". A package offers its
rules through an entry point of the group "ravine.rules", which names a module or one rule; they are
found by name, and always as "package:name".
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

from ravine import elsewhere, naming
from ravine.packages import OFFERS, Package, normal, offers, packages
from ravine.rule import Rule, RuleError, rule

__all__ = ["Found", "Rules", "get", "modifiers", "names", "own", "resolve", "rules", "unverified"]

Options = tuple[tuple[str, float | bool], ...]


class Rules(Mapping[str, Rule]):
    """Rules by name, in order of name: Ravine's own, and those of other packages.

    If a package's rule has the name of one of Ravine's or another package's, it is listed as
    "package:name".
    """

    def __init__(self, ours: Mapping[str, Rule], others: list[Package]):
        self._others = {normal(package.name): package for package in others}
        self._rules, self._from = dict(ours), {}
        offered = [(made, package) for package in others for made in package.rules.values()]
        new = {id(made): (made, package) for made, package in reversed(offered)}  # each rule once
        for made in ours.values():
            new.pop(id(made), None)
        counts = Counter(made.name for made, _ in new.values())
        for made, package in new.values():
            name = made.name
            if counts[name] > 1 or name in ours or naming.meaning(name, ours):
                whose = "Ravine's" if counts[name] == 1 else "another package's"
                name = f"{package.name}:{name}"
                package.wrong.append(
                    f"its rule {made.name!r} has {whose} name, and is {name!r} here"
                )
            self._rules[name] = made
            self._from[name] = f"{package.name} {package.version}".rstrip()
        self._rules = dict(sorted(self._rules.items()))

    def __getitem__(self, name: str) -> Rule:
        return self._rules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def package(self, name: str) -> str:
        """The package that provides the rule of that name, with its version; "" for Ravine's own."""
        return self._from.get(name, "")

    def family(self, name: str) -> str:
        """The family of the rule of that name: the start of its module's description, up to the colon.

        "" for a rule of another package.
        """
        if self.package(name):
            return ""
        module = sys.modules[_module(self[name])]
        return (module.__doc__ or "").partition("\n")[0].partition(":")[0].strip()

    def families(self) -> dict[str, list[str]]:
        """The names by family: families, and the rules in each, by the year of their paper.

        Rules of other packages come last, under "From" and the package.
        """
        found: dict[str, list[str]] = {}
        for name in sorted(
            self, key=lambda name: (bool(self.package(name)), self[name].year, name)
        ):
            package = self.package(name)
            found.setdefault(f"From {package}" if package else self.family(name), []).append(name)
        return found

    def of_package(self, package: str, name: str) -> Rule | None:
        """A package's rule, by its own name."""
        offered = self._others.get(normal(package))
        return offered.rules.get(name) if offered else None


@cache
def rules() -> Rules:
    """All rules by name. Each faulty package that offers rules causes one UserWarning."""
    others = packages()
    found = Rules(own(), others)
    for package in others:
        if package.wrong:
            warnings.warn(
                f"{package.name} {package.version} {OFFERS}: {'; '.join(package.wrong)}",
                stacklevel=2,
            )
    return found


def names() -> list[str]:
    """The names of all rules, sorted."""
    return list(rules())


@cache
def modifiers() -> dict[str, Callable[..., Rule]]:
    """Ravine's own modifiers by name."""
    import ravine.modifiers  # imported late, so that importing Ravine is instant

    return {name: getattr(ravine.modifiers, name) for name in ravine.modifiers.__all__}


@cache
def _modifiers_called() -> dict[str, str]:
    """The modifiers by plain name: their own names, and those with which their descriptions
    begin, as in "Adaptive gradient clipping (AGC): ..."."""
    found: dict[str, str] = {}
    for name, modify in modifiers().items():
        title, colon, _ = (modify.__doc__ or "").partition("\n")[0].partition(": ")
        others = re.split(r" \((\w+)\)", title) if colon else []
        found |= {naming.plain(x): name for x in others if x}
    return found | {naming.plain(name): name for name in modifiers()}


def _module(made: Rule) -> str:
    """The module of Ravine that defines a rule under its name."""
    inside = "ravine.rules."
    return next(
        name
        for name, module in sys.modules.items()
        if name.startswith(inside) and vars(module).get(made.name) is made
    )


def unverified(rule: Rule) -> str:
    """Why a rule is not verified to 1e-12, with the distance if there is one; "" if it is verified.

    What verifies a rule is a witness on its card or, for Ravine's own rules, an oracle in the tests. A
    stack, or a rule with other defaults, is as verified as its parts.
    """
    if rule.card.unverified or rule.card.witnesses or own().get(rule.name) is rule:
        return rule.card.unverified
    base = next((x for x in rule.origin if isinstance(x, Rule)), None)
    return (
        unverified(base)
        if base
        else "its card names no released optimizer that takes the same path"
    )


def own() -> dict[str, Rule]:
    """Ravine's own rules by name, without looking at other packages."""
    import ravine.rules

    found: dict[str, Rule] = {}
    for info in pkgutil.iter_modules(ravine.rules.__path__):
        module = importlib.import_module(f"ravine.rules.{info.name}")
        for value in vars(module).values():
            if isinstance(value, Rule) and found.setdefault(value.name, value) is not value:
                raise ValueError(
                    f"two rules are called {value.name!r}; one is in {module.__name__}"
                )
    return dict(sorted(found.items()))


# ---- look-up -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The result of looking up a name: the rule, and a note on the name.

    head: the name of the rule or the outermost modifier, or its place, "file.py:name"; inner: what a
    modifier is applied to; options: hyperparameters set in the name. note: what the name means in
    the package that has it, if that is not quite this rule.
    """

    rule: Rule
    head: str
    inner: Found | None = None
    options: Options = ()
    note: str = ""

    @property
    def name(self) -> str:
        """The canonical way to write this rule, the same for all of its names."""
        inside = [self.inner.name] if self.inner else []
        for option, value in self.options:
            inside.append(f"{option}={value!r}")
        return f"{self.head}({', '.join(inside)})" if inside else self.head

    @property
    def settings(self) -> dict[str, float | bool]:
        """All hyperparameters set in the name, including those inside a modifier."""
        return {**(self.inner.settings if self.inner else {}), **dict(self.options)}

    @property
    def label(self) -> str:
        """Its label in a table: the rule's name, or `name` if that sets options."""
        return self.name if "=" in self.name else self.rule.name


def get(name: str) -> Rule:
    """The rule with this name; the module's description says which names there are.

    Raises LookupError for an unknown name, with the closest match if it looks like a typo, and
    ValueError for invalid options.
    """
    return resolve(name).rule


def resolve(name: str) -> Found:
    """The rule of that name, and a note on the name. Raises as :func:`get` does."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a rule must be a string, got {name!r}")
    try:
        return _resolve(name.strip())
    except RecursionError:
        raise LookupError("the name of the rule is nested too deeply") from None


def _resolve(text: str) -> Found:
    ours = own()
    if text in ours:
        return Found(ours[text], text)
    match = elsewhere.best(text, ours.values()) if ":" not in text else None
    if match:
        return _of_package(match)
    meant = None if ":" in text else naming.meaning(text, ours)
    if meant:
        found = _resolve(meant.expression)
        return replace(found, note=_said(text, found, meant.note) or found.note)
    call = naming.call(text)
    if call:
        return _modified(call) if call.inner is not None else _with_options(call)
    if ":" in text:
        return Found(_placed(text), text)
    found_in = rules()
    same = [name for name in found_in if naming.plain(name) == naming.plain(text)]
    if text in found_in or len(same) == 1:
        name = text if text in found_in else same[0]
        return Found(found_in[name], name)
    raise LookupError(_unknown(text, found_in))


def _said(text: str, found: Found, note: str) -> str:
    """A note on a name that packages use, in this spelling, only for other rules."""
    its = elsewhere.spelled(text, own().values())
    if any(match.rule is found.rule for match in its):
        return ""
    if note or not its:
        return note
    others = dict.fromkeys(f"{match.witness.name} is {match.expression}" for match in its)
    return f"{text} is {found.name} here; {'; '.join(others)}"


def _of_package(match: elsewhere.Match) -> Found:
    """The rule with the package's defaults."""
    found, name = _set(Found(match.rule, match.rule.name), match.defaults), match.witness.name
    same = naming.plain(name.rpartition(".")[2]) == naming.plain(found.name)
    if same and not match.witness.note:
        return found
    return replace(found, note=f"{name} is {match.expression}. {match.witness.note}".rstrip(". "))


_ALL = "`ravine list`, or ravine.registry.names(), has all rules"


def _unknown(text: str, found: Rules) -> str:
    from ravine.files import exists, is_file  # imported late, so that importing Ravine is instant

    shown = repr(text if len(text) <= 80 else f"{text[:77]}...")
    if not text:
        return f"no name of a rule is given; {_ALL}"
    if qualified := [name for name in found if name.partition(":")[2] == text]:
        return f"{shown} is the name of a rule in several packages; write {' or '.join(qualified)}"
    if naming.plain(text) in _modifiers_called():
        return f"{shown} is a modifier, a function from rule to rule; write {text}(adam)"
    for file in (text, f"{text}.py"):
        if file.endswith(".py") and exists(file):
            return f"{shown} is a file's name; a rule in it is {file}:NAME{_defined(file)}"
    if is_file(text):
        return f"{shown} is no rule; a rule of your own is named as path/to/file.py:name"
    last, (head, _, option) = text.rpartition(".")[2], re.split(r"(\s+with\s+|$)", text, maxsplit=1)
    if last != text and naming.meaning(last, found):
        slip = f"; did you mean {last!r}?"
    elif option and naming.meaning(head, found):  # "Adam with weight decay"
        slip = _in_modifiers(head, [re.sub(r"\W+", "_", option)], ())
        slip += "." * bool(slip)
    else:
        slip = naming.typo(text, [*found, *naming.known(own())])
    return f"no rule is called {shown}{slip if slip else ';'} {_ALL}"


def _defined(place: str) -> str:
    """The functions in a file, found without running it."""
    try:
        with open(place, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, ValueError, SyntaxError):
        return ""
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return f"; it has {', '.join(functions)}" if functions else ""


def _with_options(call: naming.Call) -> Found:
    """A rule with other defaults; an option named like a rule chooses that rule: SGD(nesterov=True)."""
    if not call.options and naming.plain(call.head) in _modifiers_called():
        raise LookupError(_unknown(call.head, rules()))
    found, options = _resolve(call.head), dict(call.options)
    for option, value in call.options:
        other = naming.meaning(f"{call.head} with {option}", own())
        if option in found.rule.hyperparameters or not other:
            continue
        if value:
            found = replace(_resolve(other.expression), note=other.note)
        if value is True or (option not in found.rule.hyperparameters and value in (0, 1)):
            del options[option]
    return _set(found, options)


def _modified(call: naming.Call) -> Found:
    assert call.inner is not None
    (name, modify), inner = _modifier(call.head), _resolve(call.inner)
    try:
        made = _apply(modify, inner.rule)
    except RuleError:
        raise
    except Exception as error:
        raise LookupError(
            f"{call.head} cannot modify {inner.name}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, Rule):
        raise LookupError(
            f"{call.head} is not a modifier: applied to {inner.name} it returns {made!r}, which is not a "
            "rule"
        )
    return _set(Found(made, name, inner, note=inner.note), dict(call.options))


def _modifier(head: str) -> tuple[str, Callable[[Rule], Any]]:
    """A modifier by its name, or from "file.py:name" or "module:name"."""
    if ":" in head:
        return head, _attribute(head)
    name = _modifiers_called().get(naming.plain(head))
    if name:
        return name, modifiers()[name]
    slip = naming.typo(head, modifiers())
    if not slip and naming.meaning(head, own()):
        slip = f", which is a rule: {head}(lr=0.1) sets its options"
    raise LookupError(
        f"no modifier is called {head!r}{slip}; modifiers are {', '.join(modifiers())}"
    )


def _set(found: Found, options: Mapping[str, float | bool]) -> Found:
    """The rule with the options as its defaults. Raises ValueError for options that it does not take."""
    if not options:
        return found
    hyperparameters, given = found.rule.hyperparameters, options
    options = {k if k in hyperparameters else naming.OPTIONS.get(k, k): given[k] for k in given}
    if len(options) < len(given):
        raise ValueError(f"{found.name}: {', '.join(given)} set the same hyperparameter twice")
    try:
        found.rule.values(options)
    except TypeError as error:
        raise ValueError(f"{error}{_in_modifiers(found.name, options, hyperparameters)}") from None
    checked = {k: hyperparameters[k].check(v, found.name) for k, v in options.items()}
    together = tuple({**dict(found.options), **checked}.items())
    return replace(found, rule=_named(found.rule, tuple(checked.items())), options=together)


_USUAL = ("decoupled_decay", "l2", "clip_by_norm", "clip_by_global_norm")


def _in_modifiers(name: str, options: Iterable[str], known: Collection[str]) -> str:
    """Where to find an option that the rule does not have: weight_decay."""
    for option in options:
        stacks = [
            f"{modifier}({name}, {option}=...)"
            for modifier in sorted(modifiers(), key=_USUAL.__contains__, reverse=True)
            if option in modifiers()[modifier](own()["sgd"]).hyperparameters
        ]
        if option not in known and stacks:
            return f"; write {' or '.join(stacks[:2])}"
    return ""


# The same rule for the same name, so that engines find what they have kept for it.
@lru_cache(maxsize=256)
def _named(made: Rule, defaults: Options) -> Rule:
    values: dict[str, Any] = dict(defaults)
    return made.named(made.name, **values)


@lru_cache(maxsize=256)
def _apply(modify: Callable[[Rule], Any], inner: Rule) -> Any:
    return modify(inner)


_as_rule = lru_cache(maxsize=256)(rule)


# ---- rules of one's own --------------------------------------------------------------------------


def _placed(text: str) -> Rule:
    """The rule in "file.py:name", "module:name" or "package:name"."""
    from ravine.files import is_file

    place, _, name = text.rpartition(":")
    if not is_file(place) and offers(place):
        made = rules().of_package(place, name)
        if made:
            return made
    value = _attribute(text)
    try:
        return value if isinstance(value, Rule) else _as_rule(value)
    except RuleError as error:
        raise RuleError(f"{text}: {error}") from None


def _attribute(text: str) -> Any:
    """The object under a name in a file or module: a rule or a function."""
    place, _, name = (part.strip() for part in text.rpartition(":"))
    if not place:
        raise LookupError(f"{text!r} names no file; write path/to/file.py:{name or 'NAME'}")
    from ravine.files import load

    module = load(place)
    value = getattr(module, name, None)
    if isinstance(value, Rule) or callable(value):
        return value
    there = ", ".join(_rules_in(module))
    has = f"it has {there}" if there else "there is none in it"
    if not name:
        raise LookupError(f"{text!r} names no rule; write {place}:NAME; {has}")
    slip = naming.typo(name, _rules_in(module))
    raise LookupError(
        f"{place} has no rule {name!r}{slip}{f' {has.capitalize()}' if slip else f'; {has}'}"
    )


def _rules_in(module: ModuleType) -> list[str]:
    """The names of rules in a module, and of functions that could be rules."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, Rule)
        or (inspect.isfunction(value) and value.__module__ == module.__name__)
    ]
