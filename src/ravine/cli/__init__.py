"""The command line: parse, call, print. Nothing is computed here.

Exit codes: 0 success, 1 failure, 2 invalid input, 130 interrupted, 143 terminated.
"""

from ravine.cli.app import app, main
from ravine.cli.bench import bench as _bench
from ravine.cli.check import check as _check
from ravine.cli.cost import cost_of as _cost
from ravine.cli.explore import explore as _explore
from ravine.cli.listing import list_rules as _list
from ravine.cli.race import race as _race
from ravine.cli.race_report import report as _report
from ravine.cli.score import score as _score
from ravine.cli.show import show as _show
from ravine.cli.which import which as _which

__all__ = ["app", "main"]

app.command("list")(_list)
app.command("show")(_show)
app.command("explore")(_explore)
app.command("which")(_which)
app.command("check")(_check)
app.command("cost")(_cost)
app.command("score")(_score)
_race.command("report")(_report)
app.add_typer(_race, name="race", invoke_without_command=True)
app.add_typer(_bench, name="bench")
