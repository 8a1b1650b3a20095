"""Every quotation of the two posts is to the letter, and comes from one place.

In the files that mention the posts, whatever stands in double quotation marks is part of a sentence in
`ravine.experiments.quotations`, or one of `OTHERS`, which quote somebody else or nobody. Elsewhere, a
passage that resembles one of these sentences must be equal to a part of it.
"""

import ast
import io
import re
import tokenize
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from ravine.experiments.quotations import posts, quotation, quotations

ROOT = Path(__file__).parents[2]
MENTIONS = re.compile(r"Arora|Tuychiev|\b(?:the|both|two)(?: \w+){0,2} posts?\b", re.IGNORECASE)
QUOTED = re.compile(r'"([^"“”]+)"|“([^“”]+)”')
FILES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.py")),
    *sorted((ROOT / "examples").glob("*.py")),
    *sorted((ROOT / "src").rglob("*.py")),
]

OTHERS = {
    "Why Momentum Really Works",
    "heavy ball",
    "the same optimizer",
    "Looks similar",
    "it depends",
    "does not hold",
    "not distinguishable",
    "about lr",
    "about `lr`",
    "MyAdam is not adam",
}
"""Passages in quotation marks that are no quotation of the posts, by how they begin."""


def plain(text):
    """Bring typographic marks, line breaks and Markdown's escapes to one form."""
    text = re.sub(r"(?m)^\s*(?:>|#:?)\s?", " ", text).replace("\\", "").replace("*", "")
    return re.sub(r"\s+", " ", text.replace("’", "'")).strip()


SENTENCES = {name: plain(each.text) for name, each in quotations().items()}
TITLES = {post.title for post in posts().values()} | {"Adam Optimizer Tutorial"}


def prose(path):
    """Yield the texts of a file: a page without its code, a program's strings and comments."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        yield re.sub(r"(?ms)^```.*?^```|`[^`\n]+`|<[a-z][^>]*>", "", text)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    comments = [(0, "")]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            follows = token.start[0] == comments[-1][0] + 1
            before = comments.pop()[1] if follows else ""
            comments.append((token.start[0], before + "\n" + token.string))
    for _, lines in comments:
        yield re.sub(r"(?ms)^# ```.*?^# ```|`[^`\n]+`", "", lines)


def passages(texts):
    """Yield what stands in quotation marks and has at least two words."""
    for text in texts:
        for found in QUOTED.finditer(plain(text)):
            passage = (found[1] or found[2]).strip(" ,.:;!?")
            if len(passage.split()) > 1:
                yield passage


def faults(texts, mentions):
    """Return the passages that are misquoted."""
    return [p for p in passages(texts) if not right(p, mentions)]


def right(passage, mentions):
    if passage in TITLES or any(passage in sentence for sentence in SENTENCES.values()):
        return True
    if mentions:
        return any(passage.startswith(other) for other in OTHERS)
    return not any(resembles(passage, sentence) for sentence in SENTENCES.values())


def resembles(passage, sentence):
    """Whether most words of a passage follow each other in a sentence as well."""
    words = passage.lower().split()
    blocks = SequenceMatcher(None, words, sentence.lower().split()).get_matching_blocks()
    return len(words) > 3 and sum(b.size for b in blocks) > 0.7 * len(words)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_quotations(path):
    assert faults(prose(path), bool(MENTIONS.search(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    ("text", "mentions", "wrong"),
    [
        ('"by far the most superior choice"', True, True),
        ('says "the superior choice\nfor most", and', True, False),
        ('"relatively insensitive to the first learning rate"', False, True),
        ('"relatively insensitive to the initial learning rate"', False, False),
        ('> "we don’t need to clip them\n> for Adam"', True, False),
        ("“we don't need to clip them for ADAM”", False, True),
        ('"something that somebody else says"', True, True),
        ('"something that somebody else says"', False, False),
    ],
)
def test_a_misquotation_is_noticed(text, mentions, wrong):
    assert bool(faults([text], mentions)) == wrong


def test_strings_and_comments_are_read(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""Says "one two"."""\nx = \'"three four"\'\n# It is "five\n# six".\n# `"a b"`\n'
    )
    assert sorted(passages(prose(path))) == ["five six", "one two", "three four"]


def test_the_file_has_whole_sentences_and_their_sources():
    for name, each in quotations().items():
        assert each.text[0].isupper(), name
        assert each.text[-1] in ".!:" or name == "decay"  # an item of a list
        assert each.post.url.startswith("https://")
        assert str(each).startswith(f"{each.post.cited}: “{each.text}”")
    assert {each.post for each in quotations().values()} == set(posts().values())
    with pytest.raises(ValueError, match=r"name is 'speeed'; it must be one of .*\bspeed\b"):
        quotation("speeed")
