import runpy
from pathlib import Path

EXAMPLE = runpy.run_path(
    str(Path(__file__).parents[2] / "examples" / "own_optimizer_checked.py"), run_name="example"
)


def test_the_fault_is_named_and_the_fix_is_right(capsys):
    EXAMPLE["main"]()
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "MyAdam is not adam: t grows with every parameter tensor, where it should grow with every step",
        "MyFixedAdam is adam",
    ]
