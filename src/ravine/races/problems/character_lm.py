"""A language model of characters, a small GPT of 30,080 parameters.

Data: the Declaration of Independence (1776, public domain), 7,798 characters of 56 kinds. The first 80%
are trained on, in every window of 33 characters; of the next 10% and the last 10%, windows of 33 that
follow one another choose and report.
Model: two transformer blocks of width 32 with two heads, pre-norm, learned positions, a context of 32.
Budget: 300 steps of 16 windows, which read each character 25 times.
Target: a held-out loss of 2.4: what AdamW has at half the budget, at the best of five learning rates,
rounded.
"""

from importlib.resources import files

import numpy as np
import torch
from torch import nn

CONTEXT, WIDTH, HEADS, BLOCKS = 32, 32, 2, 2
TEXT = files("ravine.data").joinpath("declaration.txt").read_text("utf-8")
CHARACTERS = sorted(set(TEXT))


def data():
    """Three parts of windows: what is read, and what comes next at each place."""
    codes = np.array([CHARACTERS.index(character) for character in TEXT])
    first, second = len(codes) * 8 // 10, len(codes) * 9 // 10
    parts = (codes[:first], 1), (codes[first:second], CONTEXT + 1), (codes[second:], CONTEXT + 1)
    return tuple(windows(part, step) for part, step in parts)


def windows(codes, step):
    """Windows of codes, begun at every so many of them."""
    found = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)[::step]
    return found[:, :-1], found[:, 1:]


class Block(nn.Module):
    """Attention to what came before, then an MLP."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        """New values, of (windows, places, width)."""
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Scores of the next character at each place."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(len(CHARACTERS), WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(CHARACTERS), bias=False)
        nn.init.normal_(self.token.weight, std=0.02)

    def forward(self, x):
        """Scores, (windows, places, characters), of codes (windows, places)."""
        h = self.token(x) + self.position
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


model = GPT


def loss(output, target):
    """Cross-entropy of the next characters, in nats."""
    return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())


steps, batch_size = 300, 16
target = 2.4
