"""What the chapters share: ways to show a rule, to take steps by it, and to draw where it goes."""

import html
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, Math, display

from ravine.explorer import build, fragment
from ravine.reading.about import source
from ravine.reading.equations import latex
from ravine.reading.worked import worked

plt.rcParams.update({"figure.constrained_layout.use": True, "figure.dpi": 90, "font.size": 9})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

GRADIENTS = (0.5, 0.3, -0.2, 0.4, 0.1)
"""The gradients of every table that is worked by hand."""


# ---- showing -----------------------------------------------------------------------------------


def code(function):
    """Show a function's source."""
    return Markdown(f"```python\n{source(function)}```")


def show(a_rule):
    """Show a rule as its equations and as its source, from which they are made."""
    display(Math(latex(a_rule.function)), code(a_rule.function))


def table(rows):
    """Show a list of dicts as a table, with numbers to six digits."""
    texts = [[f"{x:.6g}" if isinstance(x, float) else str(x) for x in r.values()] for r in rows]
    lines = [rows[0], ["---"] * len(rows[0]), *texts]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def by_hand(a_rule, **hyperparameters):
    """Work five steps with the gradients 0.5, 0.3, -0.2, 0.4 and 0.1, from p = 1."""
    return table(worked(a_rule, GRADIENTS, **hyperparameters))


def explore(**state):
    """Show the explorer in a state: a rule, a landscape, another rule beside it, ..."""
    page = Path("explorer.html")
    if not page.exists():
        page.write_text(build(), "utf-8")
    shown = fragment({"embed": True, **state})
    frame = f'<iframe src="{page}#{html.escape(shown)}" width="100%" height="740"></iframe>'
    display({"text/html": frame, "text/plain": f"The explorer: {shown}"}, raw=True)


# ---- steps -------------------------------------------------------------------------------------


def descend(a_rule, gradient, start, steps, **hyperparameters):
    """Take steps by a rule; return the points that were visited, the start first."""
    p = np.array(start, float)
    state = a_rule.init(p, **hyperparameters)
    path = [p]
    for t in range(1, steps + 1):
        p, state = a_rule.update(p, gradient(p), state, t, **hyperparameters)
        path.append(p)
    return np.array(path)


def replay(a_rule, gradients, **hyperparameters):
    """Return the steps that a rule takes on given gradients."""
    feed = iter(gradients)
    return -np.diff(descend(a_rule, lambda _: next(feed), 0.0, len(gradients), **hyperparameters))


def noisy_slope(steps=3000):
    """Return gradients of a slope of 1 with noise of the same size."""
    return 1 + np.random.default_rng(0).normal(size=steps)


def nudge(f, p, h=1e-6):
    """Measure a derivative: the change of f across p, over the distance."""
    return (f(p + h) - f(p - h)) / (2 * h)


# ---- the ravine --------------------------------------------------------------------------------


def ravine_height(x, y):
    """Return the height of a ravine that is a hundred times as steep across (y) as along (x)."""
    return (x**2 + 100 * y**2) / 2


def ravine_gradient(p):
    """Return its gradient."""
    return np.array([1.0, 100.0]) * p


# ---- drawing -----------------------------------------------------------------------------------


def contours(axes, f, xs, ys, count=12):
    """Draw lines of equal height, as on a map."""
    x, y = np.meshgrid(np.linspace(*xs, 50), np.linspace(*ys, 50))
    z = np.vectorize(f)(x, y)
    levels = z.min() + np.ptp(z) * np.linspace(0, 1, count + 1)[1:] ** 2
    axes.contour(x, y, z, levels=levels, colors="0.75", linewidths=0.8)


def draw_path(axes, path, colour, title):
    """Draw a path over the map of the ravine; both axes have the same scale."""
    contours(axes, ravine_height, (-10, 6.5), (-1.5, 1.5))
    axes.plot(*path.T, ".-", color=colour, linewidth=0.9, markersize=4)
    axes.plot(*path[0], "o", color="black")
    axes.plot(0, 0, "x", color="black", markersize=8)
    axes.set_title(title, loc="left")
    axes.set(aspect="equal", xlim=(-10, 6.5), ylim=(-1.5, 1.5), ylabel="y")
