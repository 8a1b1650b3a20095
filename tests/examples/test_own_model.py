import runpy
from pathlib import Path

from ravine.races.task import from_file

PATH = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_a_race_from_python_names_who_is_ahead(capsys):
    example = runpy.run_path(str(PATH), run_name="example")
    outcome = example["main"](optimizers=["adamw", "sgd"], tier="default", seeds=2)
    first, second = outcome.table()
    assert (first["optimizer"], second["optimizer"]) == ("adamw", "sgd")
    assert first["default"] > second["default"] + 0.2, (
        "SGD's default learning rate is far too small"
    )
    shown = capsys.readouterr().out.splitlines()[-2:]
    assert shown[0].startswith("adamw     accuracy 0.")
    assert shown[1].endswith("with the defaults")


def test_the_file_is_a_task():
    task = from_file(str(PATH))
    assert (task.steps, task.batch_size) == (100, 64)
