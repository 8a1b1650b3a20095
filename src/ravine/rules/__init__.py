"""The optimizers, one file per family. To add one, write its function in one of these files."""

# ruff: noqa: F403  (every rule of a family file is exported; the registry finds them by type)
from ravine.rules.adafactor import *
from ravine.rules.adagrad import *
from ravine.rules.adam import *
from ravine.rules.adam_denominator import *
from ravine.rules.adam_differences import *
from ravine.rules.adam_momentum import *
from ravine.rules.adam_order import *
from ravine.rules.averaging import *
from ravine.rules.curvature import *
from ravine.rules.d_adaptation import *
from ravine.rules.distances import *
from ravine.rules.factored import *
from ravine.rules.gradient_descent import *
from ravine.rules.muon import *
from ravine.rules.normalized import *
from ravine.rules.orthogonal import *
from ravine.rules.preconditioned import *
from ravine.rules.prodigy import *
from ravine.rules.projections import *
from ravine.rules.rmsprop import *
from ravine.rules.rprop import *
from ravine.rules.sampling import *
from ravine.rules.schedule_free import *
from ravine.rules.signs import *
from ravine.rules.trust_ratios import *
