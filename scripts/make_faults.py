"""Writes src/ravine/explorer/faults.json: ten broken rules, and what `ravine check` says of each.

python scripts/make_faults.py           # write it
python scripts/make_faults.py --check   # end with 1 where it is out of date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ravine import rule
from ravine.checks import check_optimizer
from ravine.ops import sign, sqrt, where
from ravine.reading.about import source
from ravine.rule import Rule

FILE = Path(__file__).parents[1] / "src" / "ravine" / "explorer" / "faults.json"
FIRST = "From “Adam and friends”, 2021, in PyTorch."
SECOND = "From “Adam Optimizer Tutorial”, 2024, in NumPy."
COMMON = "Seen in the wild."


@rule
def lost_buffer(p, g, b, *, lr=1e-3, momentum=0.9):
    b = momentum * g + g
    return p - lr * b, b


@rule
def first_buffer(p, g, b, t, *, lr=1e-3, momentum=0.9):
    b = momentum * where(t == 1, g, b) + g
    return p - lr * b, b


@rule
def corrected_twice(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (1 - beta1**t) / (sqrt(v_hat) + eps), m, v


@rule
def rootless(p, g, v, *, lr=1e-2, alpha=0.99, eps=1e-8):
    v = alpha * v + (1 - alpha) * g**2
    return p - lr * g / (v + eps), v


@rule
def climbing(p, g, b, *, lr=1e-3, momentum=0.9):
    b = momentum * b + g
    return p + lr * b, b


@rule
def uncorrected(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    return p - lr * m_hat / (sqrt(v) + eps), m, v


@rule
def stale(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    m = beta1 * m + (1 - beta1) * g
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule
def coupled(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule
def one_beta(p, g, m, *, lr=1e-4, beta1=0.9, beta2=0.99):
    step = sign(beta1 * m + (1 - beta1) * g)
    m = beta1 * m + (1 - beta1) * g
    return p - lr * step, m


@rule
def forgetful(p, g, s, *, lr=1e-2, lr_decay=0.0, eps=1e-10):
    s = g**2
    return p - lr * g / (sqrt(s) + eps), s


BROKEN: list[tuple[Rule, str, str]] = [
    (lost_buffer, "momentum", FIRST),
    (first_buffer, "momentum", FIRST),
    (corrected_twice, "adam", FIRST),
    (rootless, "rmsprop", FIRST),
    (climbing, "momentum", SECOND),
    (uncorrected, "adam", COMMON),
    (stale, "adam", COMMON),
    (coupled, "adamw", COMMON),
    (one_beta, "lion", COMMON),
    (forgetful, "adagrad", COMMON),
]
"""Each broken rule, the rule that it should be, and where it is from: the posts' first."""


def entry(broken: Rule, like: str, where_from: str) -> dict[str, object]:
    """What the page is told of a broken rule; `says` and `marked` are the checker's."""
    report, name = check_optimizer(broken, like, only=["identity"]), f"my_{like}"
    said = [report.headline.replace(broken.name, name), *report.finding.evidence]
    return {
        **asked(broken, like, where_from),
        "says": " ".join(
            f"{each[:1].upper() if i else each[:1]}{each[1:]}." for i, each in enumerate(said)
        ),
        "marked": report.finding.marked,
    }


def asked(broken: Rule, like: str, where_from: str) -> dict[str, object]:
    """What the page shows before it gives the answer: the name says nothing of the fault."""
    text = source(broken.function).replace(f"def {broken.name}(", f"def my_{like}(")
    return {"like": like, "from": where_from, "source": text}


def text() -> str:
    """The file."""
    found = [entry(*each) for each in BROKEN]
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    made = text()
    if "--check" in sys.argv[1:]:
        sys.exit(made != FILE.read_text("utf-8"))
    FILE.write_text(made, "utf-8")
