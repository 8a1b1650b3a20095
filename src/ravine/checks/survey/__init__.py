"""Which optimizers the installed packages have, and what each of them is.

`ravine check --survey` finds them (`discovery.py`), checks them, each package in a separate process
(`running.py`, `worker.py`), and scripts/make_survey.py makes the page of it (`table.py`).
"""

from __future__ import annotations

from ravine.checks.survey.discovery import PACKAGES, Found, optimizers
from ravine.checks.survey.running import survey

__all__ = ["PACKAGES", "Found", "optimizers", "survey"]
