"""The process that times a first call: `python -m ravine.bench.first_call RULE TWIN ENGINE SHAPES`.

torch is imported before, and torch._dynamo, which torch imports when the first optimizer of any
kind is made.
"""

import sys
import time
from ast import literal_eval

import torch._dynamo  # noqa: F401

from ravine import registry
from ravine.bench.contenders import Twin, fitting, make, parameters


def main(name: str, twin: str, engine: str, shapes: str) -> None:
    """Print the seconds. twin: its name and options as Python writes them, or ()."""
    said = literal_eval(twin)
    rule, found = registry.get(name), Twin(*said) if said else None
    params = fitting(found, parameters(shapes))
    start = time.perf_counter()
    make(engine, rule, found, params)()
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
