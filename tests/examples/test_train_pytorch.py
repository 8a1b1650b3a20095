import runpy
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "examples" / "train_pytorch.py"
IMPORT = "from torch.optim import Adam"


def load(source):
    names = {"__name__": "example"}
    exec(compile(source, PATH.name, "exec"), names)
    return names


@pytest.fixture
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("float64")
def test_one_changed_import_trains_with_ravine_and_gives_the_same_losses():
    source = PATH.read_text("utf-8")
    assert source.count(IMPORT) == 1
    theirs, ours = load(source), load(source.replace(IMPORT, "from ravine.torch import Adam"))
    assert (theirs["Adam"].__module__, ours["Adam"].__module__) == (
        "torch.optim.adam",
        "ravine.torch.classes",
    )
    expected, rates = theirs["train"]()
    losses, our_rates = ours["train"]()
    assert losses == pytest.approx(expected, rel=0, abs=1e-10)
    assert rates == our_rates == pytest.approx([1e-2] * 30 + [1e-3] * 30 + [1e-4] * 30, rel=1e-12)
    assert losses[-1] < losses[29] < 0.2 * losses[0]


def test_running_the_file_prints_the_losses(capsys):
    runpy.run_path(str(PATH), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1", *map(str, range(10, 91, 10))]
    losses = [float(line.split()[-1]) for line in lines]
    assert losses[-1] < 0.1 * losses[0]
