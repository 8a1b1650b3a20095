"""Write the types of the classes that the fronts make from rules: src/ravine/{torch,numpy}/friends.pyi.

A class such as `ravine.torch.Lion` is made when it is asked for, so a type checker and an editor's
completion read these files. `python scripts/make_stubs.py` writes them; a test says when they are stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ravine.rule import Rule
from ravine.spellings import classes, spelling_of

FRONTS = Path(__file__).parents[1] / "src" / "ravine"
TORCH = (
    "from torch.optim.optimizer import ParamsT\n"
    "from typing_extensions import Unpack\n\n"
    "from ravine.torch.checks import How\n"
    "from ravine.torch.classes import FromRule\n"
)
NUMPY = "from typing import Any\n\nfrom ravine.numpy.rule_optimizer import RuleOptimizer\n"


def stub(front: str) -> str:
    """The text of a front's stub."""
    parts = [f'"""Written by scripts/make_stubs.py."""\n\n{TORCH if front == "torch" else NUMPY}']
    own = (FRONTS / front / "classes.py").read_text()
    made = {name: rule for name, rule in classes().items() if f"\nclass {name}(" not in own}
    order = sorted(made, key=lambda name: (not name.isupper(), name))  # as ruff sorts __all__
    listed = "".join(f'    "{name}",\n' for name in order)
    parts.append(f"__all__ = [\n{listed}]\n")
    return "\n".join([*parts, *(_class(front, name, made[name]) for name in sorted(made))])


def _class(front: str, name: str, rule: Rule) -> str:
    base, params = ("FromRule", "ParamsT") if front == "torch" else ("RuleOptimizer", "Any")
    return (
        f"class {name}({base}):\n"
        f"    def __init__(\n        self,\n        params: {params},\n        *,\n"
        + "".join(f"        {option},\n" for option in _options(front, rule))
        + "    ) -> None: ...\n"
    )


def _options(front: str, rule: Rule) -> Iterator[str]:
    defaults = {k: h.default for k, h in rule.hyperparameters.items()}
    for name, value in rule.parts.gathered(defaults).items():
        if isinstance(value, tuple):
            yield f"{name}: tuple[float, ...] = ..."
        else:
            yield f"{name}: {'bool' if isinstance(value, bool) else 'float'} = {value!r}"
    if front == "torch":
        for whole, parts in spelling_of(rule).paired.items():
            yield f"{whole}: tuple[{', '.join(['float'] * len(parts))}] = ..."
        yield "**how: Unpack[How]"
    else:
        yield 'engine: str = "auto"'
        yield "seed: int = 0"


def main() -> None:
    """Write both."""
    for front in ("torch", "numpy"):
        (FRONTS / front / "friends.pyi").write_text(stub(front))


if __name__ == "__main__":
    main()
