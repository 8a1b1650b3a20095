"""torch.optim.lr_scheduler itself, for `from ravine.torch.lr_scheduler import CosineAnnealingLR`."""

import sys

from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import *  # noqa: F403  (type checkers read this line)

sys.modules[__name__] = lr_scheduler
