"""Train a small network with Adam and a learning rate schedule: a training loop to copy.

The network maps ten numbers to one. The data are synthetic, so the file runs as it is:

    python examples/train_pytorch.py

To use Ravine's Adam instead of torch's, change only the import. The losses stay the same.
"""

import torch
from torch import nn
from torch.optim import Adam  # or: from ravine.torch import Adam
from torch.optim.lr_scheduler import StepLR


def train(epochs=90, batch_size=50, lr=0.01, seed=0):
    """Return the mean training loss of each epoch, and the learning rate it was trained with."""
    torch.manual_seed(seed)
    x = torch.randn(1000, 10)
    y = x[:, :1] * x[:, 1:2] + torch.sin(2 * x[:, 2:3]) + 0.3 * torch.randn(1000, 1)

    model = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))
    loss_function = nn.MSELoss()
    optimizer = Adam(model.parameters(), lr=lr)
    scheduler = StepLR(optimizer, step_size=30, gamma=0.1)  # every 30 epochs, a tenth of it

    losses, rates = [], []
    for _ in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()  # or the gradients of the last batch would be added
            loss = loss_function(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(x))
        rates.append(scheduler.get_last_lr()[0])
        scheduler.step()  # once an epoch, after the optimizer
    return losses, rates


if __name__ == "__main__":
    for epoch, (loss, rate) in enumerate(zip(*train(), strict=True), 1):
        if epoch == 1 or epoch % 10 == 0:
            print(f"epoch {epoch:2}   learning rate {rate:.0e}   loss {loss:.4f}")
