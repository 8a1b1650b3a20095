"""Paths of released optimizers, and the problem that they were recorded on.

`tests/witnesses/paths` has a file for each witness that a rule's card names. `make witnesses` records them
anew, from the packages themselves (`__main__.py`); `tests/test_witnesses.py` holds the rules against them.
"""
