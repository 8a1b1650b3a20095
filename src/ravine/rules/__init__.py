"""The optimizers, one file per family. To add one, write its function in one of these files."""

# ruff: noqa: F403  (every rule of a family file is exported; the registry finds them by type)
from ravine.rules.adafactor import *
from ravine.rules.adagrad import *
from ravine.rules.adam import *
from ravine.rules.averaging import *
from ravine.rules.curvature import *
from ravine.rules.factored import *
from ravine.rules.gradient_descent import *
from ravine.rules.muon import *
from ravine.rules.parameter_free import *
from ravine.rules.rmsprop import *
from ravine.rules.rprop import *
from ravine.rules.schedule_free import *
