"""A rule's results on small problems, and its distance from its variants: the facts of its page."""

from ravine.gallery.trials import PROBLEMS, Problem, Trial, trial, walk, walks
from ravine.gallery.variants import apart

__all__ = ["PROBLEMS", "Problem", "Trial", "apart", "trial", "walk", "walks"]
