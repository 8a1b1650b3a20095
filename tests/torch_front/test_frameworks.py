"""Real runs of Hugging Face's Trainer and of Lightning: `make test-frameworks`.

The same run with torch.optim.AdamW must have the same losses, and a run that is resumed must go on as
if it had not been stopped.
"""

import pytest
import torch
from cases import error

import ravine.torch as rt

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("default"),  # theirs are not ours to fix
]


# --- Hugging Face


def trainer(module, folder, **how):
    """A Trainer of a tiny GPT-2, with its own optimizer and schedule."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    tokens = (torch.arange(64)[:, None] + torch.arange(12)) % 32
    config = transformers.GPT2Config(vocab_size=32, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    net = transformers.GPT2LMHeadModel(config)  # with dropout: the random numbers must go on too
    optimizer = module.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 4))
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_grad_norm=0.5,
        max_steps=12,
        save_steps=5,
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **how,
    )
    data = [{"input_ids": x, "labels": x} for x in tokens]
    return transformers.Trainer(
        net, arguments, train_dataset=data, optimizers=(optimizer, schedule)
    )


def losses(run):
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


@pytest.mark.parametrize("bf16", [False, True])
def test_hugging_faces_trainer_trains_as_with_torch(tmp_path, bf16):
    runs = []
    for module in (rt, torch.optim):
        runs.append(trainer(module, tmp_path / module.__name__, bf16=bf16))  # which seeds
        runs[-1].train()
    ours, theirs = runs
    assert len(losses(ours)) == 12
    assert losses(ours)[-1] < losses(ours)[0] - 0.3
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-2 if bf16 else 1e-4)
    if not bf16:  # there, what has no gradient but rounding errors goes anywhere
        for p, q in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
            assert error(p, q) <= 1e-3


def test_hugging_faces_trainer_resumes(tmp_path):
    whole = trainer(rt, tmp_path)
    whole.train()
    again = trainer(rt, tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert losses(again)[-7:] == losses(whole)[-7:]
    for p, q in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(p, q)


# --- Lightning


def net_for(lightning, module):
    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
            )
            self.losses = []

        def training_step(self, batch, _):
            loss = (self.layers(batch) - batch.sum(1, keepdim=True)).square().mean()
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            optimizer = module.AdamW(self.parameters(), lr=0.05)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    return Net()


def fit(module, folder, epochs, start=None, **how):
    lightning = pytest.importorskip("lightning")
    net = net_for(lightning, module)
    data = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    fitter = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=0.5,
        accumulate_grad_batches=2,
        **how,
    )
    fitter.fit(net, torch.utils.data.DataLoader(data, batch_size=8), ckpt_path=start)
    return net, fitter


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_lightning_trains_as_with_torch(tmp_path, precision):
    ours, theirs = (fit(m, tmp_path, 2, precision=precision)[0] for m in (rt, torch.optim))
    bound = {"32-true": 1e-4, "bf16-mixed": 0.05, "64-true": 1e-12}[precision]
    assert ours.losses == pytest.approx(theirs.losses, rel=bound)
    assert ours.losses[-1] < ours.losses[0] / 2
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert error(p, q) <= bound


def test_lightning_resumes(tmp_path):
    whole, _ = fit(rt, tmp_path / "whole", 4)
    _, half = fit(rt, tmp_path / "half", 2)
    saved = half.checkpoint_callback.best_model_path
    again, _ = fit(rt, tmp_path / "again", 4, start=saved)
    assert again.losses == whole.losses[16:]
    for p, q in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(p, q)
