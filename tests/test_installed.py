"""What the tests compare with, where the installed torch lacks it, is torch's where it has it."""

import pytest
import torch
from installed import (
    ALONE,
    CLASSES,
    RAVINES,
    SHARDS_ON_THE_CPU,
    Muon,
    differentiates,
    flat_may_lack,
    lacks,
    takes,
)


@pytest.mark.skipif(
    not hasattr(torch.optim, "swap_in_optimizer_params_and_state"), reason="an older torch"
)
def test_a_newer_torch_has_all_that_is_asked_for():
    """Else a wrong question would skip what it is to find out."""
    assert differentiates()
    assert flat_may_lack()
    assert SHARDS_ON_THE_CPU
    assert ALONE
    assert CLASSES == RAVINES
    assert not any(map(lacks, CLASSES))


OPTIONS = [
    {},
    {"lr": 0.1, "weight_decay": 0.0, "nesterov": False},
    {"momentum": 0.5, "ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5), "eps": 1.0},
    *({"adjust_lr_fn": fn} for fn in ("original", "match_rms_adamw", "spectral_unclamped")),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_muon_as_transcribed_is_torchs(options, dtype):
    if not takes("Muon", **options):
        pytest.skip("the installed torch has no such Muon")
    draw = torch.Generator().manual_seed(0)
    for shape in ((3, 4), (5, 2), (40, 30), (1, 1)):
        p, q = (torch.ones(shape, dtype=dtype, requires_grad=True) for _ in range(2))
        ours, theirs = Muon([p], **options), torch.optim.Muon([q], **options)
        for _ in range(10):
            p.grad = q.grad = torch.randn(shape, dtype=dtype, generator=draw)
            ours.step()
            theirs.step()
        assert torch.equal(p, q)
    assert ours.defaults == theirs.defaults
