"""No sentence about a rule or a modifier that nobody has looked at."""

import importlib
import pkgutil
import re

import sentences
from sentences.unmeasured import UNMEASURED

for found in pkgutil.iter_modules(sentences.__path__, "sentences."):
    importlib.import_module(found.name)

# "Zhang et al., 2019, arXiv:1907.08610, Algorithm 1.", and no more than that
CITED = re.compile(
    r".* \d{4}, (arXiv|doi):[\d./]+\d(, (section|Algorithm) \d+)?(: [\w -]+)?(; \w+, \d{4})?\."
)


def test_every_sentence_is_held_or_cannot_be_measured():
    loose = {
        f"{name}: {sentence}"
        for name, its in sentences.said().items()
        for sentence in its[1:]
        if (name, sentence) not in sentences.HELD
        and not sentence.startswith(UNMEASURED)
        and not CITED.fullmatch(sentence)
    }
    assert not loose, "hold these by a test that quotes them (see tests/sentences)"


def test_what_is_not_measured_is_said():
    every = [s for its in sentences.said().values() for s in its]
    assert [start for start in UNMEASURED if not any(s.startswith(start) for s in every)] == []
