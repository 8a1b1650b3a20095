"""What rounding loses, kept."""

from ravine.modifying import modifier
from ravine.ops import stored


@modifier
def kahan(step, p, g, lost):
    """Kahan summation: keep the rounding error of p, and add it to the next step.

    For parameters in half precision, whose steps are often too short to reach the next number, so that
    p never moves. `lost` is kept in the dtype of the state.
    """
    u = step(p, g) - p + lost
    new = stored(p + u)
    return new, u - (new - p)
