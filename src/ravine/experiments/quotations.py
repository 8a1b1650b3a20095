"""The sentences that Ravine quotes from the two founding posts, to the letter, in one place.

`quotations.json` holds each post's author, title, date and address, and whole sentences as printed.
Claims and documentation quote from it; a test compares every quotation with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Post", "Quotation", "posts", "quotation", "quotations"]


@dataclass(frozen=True)
class Post:
    """One of the two posts: how it is cited, its author, title, date (ISO 8601) and address."""

    cited: str
    author: str
    title: str
    published: str
    url: str


@dataclass(frozen=True)
class Quotation:
    """Whole sentences of a post, as printed. by: whose words they are, if the post quotes them."""

    post: Post
    text: str
    by: str = ""

    def __str__(self) -> str:
        """Return the sentences in quotation marks after the citation."""
        return f"{self.post.cited}: “{self.text}”" + f" ({self.by})" * bool(self.by)


@cache
def quotations() -> dict[str, Quotation]:
    """Return all quotations by name."""
    return {
        name: Quotation(posts()[each["post"]], each["text"], each.get("by", ""))
        for name, each in _read()["quotations"].items()
    }


@cache
def posts() -> dict[str, Post]:
    """Return the two posts, by the way they are cited."""
    return {cited: Post(cited, **facts) for cited, facts in _read()["posts"].items()}


def quotation(name: str) -> Quotation:
    """Return the quotation of this name. Raises ValueError for an unknown name."""
    if name not in quotations():
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(quotations())}")
    return quotations()[name]


def _read() -> dict[str, dict[str, dict[str, str]]]:
    text = (files("ravine.experiments") / "quotations.json").read_text("utf-8")
    found: dict[str, dict[str, dict[str, str]]] = json.loads(text)
    return found
