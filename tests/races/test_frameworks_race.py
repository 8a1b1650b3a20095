"""Models of Hugging Face and of Lightning race as they are: `make test-frameworks`."""

import pytest
import torch

import ravine
from ravine.races.runs import REPORT

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("default"),  # we cannot fix theirs
]

RACE = {"optimizers": ("sgd", "adamw", "muon"), "tier": "default", "seeds": 3, "workers": 1}


def learned(found):
    """Every run is there, and AdamW's losses on held-out data fall below the untrained model's."""
    assert len(found.runs) == 9
    assert not any(run.lost for run in found.runs)
    assert {run.score_name for run in found.runs} == {"loss"}
    for run in found.runs:
        assert run.role == REPORT
        first, last = run.evaluations[0], run.evaluations[-1]
        assert (first[0], last[0]) == (0, 40)
        if run.optimizer == "adamw":
            assert last[1] < first[1] - 0.2


def test_a_model_of_hugging_face_whose_batch_gives_the_loss(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokens = (torch.arange(96)[:, None] + torch.arange(12)) % 32
    config = transformers.GPT2Config(vocab_size=32, n_positions=12, n_embd=16, n_layer=2, n_head=2)

    def model():
        return transformers.GPT2LMHeadModel(config)

    def part(rows):
        return {"input_ids": rows, "labels": rows}

    found = ravine.race(
        model,
        part(tokens[:64]),
        held_out=part(tokens[64:80]),
        test=part(tokens[80:]),
        steps=40,
        batch_size=16,
        folder=tmp_path,
        **RACE,
    )
    learned(found)


def test_a_data_set_of_hugging_faces_kind_and_its_collator(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokens = (torch.arange(96)[:, None] + torch.arange(12)) % 32
    config = transformers.GPT2Config(vocab_size=32, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    rows = [{"input_ids": row.tolist(), "labels": row.tolist()} for row in tokens]
    loaders = [
        torch.utils.data.DataLoader(some, 16, collate_fn=transformers.default_data_collator)
        for some in (rows[:64], rows[64:80], rows[80:])
    ]
    found = ravine.race(
        lambda: transformers.GPT2LMHeadModel(config),
        loaders[0],
        held_out=loaders[1],
        test=loaders[2],
        steps=40,
        folder=tmp_path,
        **RACE,
    )
    learned(found)
    assert {run.batch_size for run in found.runs} == {16}


def test_a_module_of_lightning(tmp_path, recwarn):
    lightning = pytest.importorskip("lightning")

    class Lines(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
            )

        def training_step(self, batch, batch_index):
            x, y = batch
            loss = torch.nn.functional.mse_loss(self.net(x), y)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self):
            raise AssertionError("a race brings its own")

    x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(x, 3 * x[:, :1] - 2 * x[:, 1:2])
    loader = torch.utils.data.DataLoader(data, batch_size=20)
    found = ravine.race(Lines, loader, steps=40, folder=tmp_path, **RACE)
    assert len(found.runs) == 9
    assert all(run.evaluations[-1][1] < run.evaluations[0][1] for run in found.runs)
    assert {run.batch_size for run in found.runs} == {20}
    assert not [w for w in recwarn if "self.log" in str(w.message)]


def test_a_module_of_lightning_that_needs_its_trainer(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Manual(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.automatic_optimization = torch.nn.Linear(4, 1), False

        def training_step(self, batch, batch_index):
            self.optimizers().step()

    with pytest.raises(ValueError, match=r"not attached to a `Trainer`.*must return the loss"):
        ravine.race(Manual, torch.ones(64, 4), folder=tmp_path, **RACE)


def test_rows_of_hugging_faces_kind_without_a_collator(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=32, n_positions=12, n_embd=16, n_layer=1, n_head=2)
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}] * 64
    model = transformers.GPT2LMHeadModel(config)
    with pytest.raises(ValueError, match="give a DataLoader over it, whose collate_fn"):
        ravine.race(model, rows, folder=tmp_path, **RACE)
    with pytest.raises(ValueError, match=r"the model's output must have \.loss"):
        ravine.race(model, {"input_ids": torch.ones(64, 3).long()}, folder=tmp_path, **RACE)
