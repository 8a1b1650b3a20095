"""The explorer: one HTML file in which you read a rule, edit it, and watch it move.

>>> from ravine.explorer import build
>>> page = build("adam", {"land": "ravine", "knobs": {"angle": 30}})
"""

from ravine.explorer.page import LIMIT, State, build, fragment

__all__ = ["LIMIT", "State", "build", "fragment"]
