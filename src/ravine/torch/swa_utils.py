"""torch.optim.swa_utils itself, for `from ravine.torch.swa_utils import AveragedModel`."""

import sys

from torch.optim import swa_utils
from torch.optim.swa_utils import *  # noqa: F403  (type checkers read this line)

sys.modules[__name__] = swa_utils
