"""What each of two processes keeps of a model that is spread over them, against what was computed."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.tensor")

from processes import mesh, spread, together  # noqa: E402

import ravine.torch  # noqa: E402
from ravine import registry  # noqa: E402
from ravine.costs import Model, cost  # noqa: E402
from ravine.costs.models import Tensors  # noqa: E402

SHAPES = [(12, 8), (6, 20)]


def test_the_state_that_a_process_keeps(tmp_path):
    together(tmp_path, each_keeps_what_was_computed)


def each_keeps_what_was_computed(rank):
    model = Model("", [Tensors(shape, 1, inner=True) for shape in SHAPES])
    over = mesh()
    for name in ("adam", "adafactor", "muon", "shampoo"):
        its = registry.get(name)
        params = [spread(torch.ones(s), over, 0).requires_grad_() for s in SHAPES]
        for p, s in zip(params, SHAPES, strict=True):
            p.grad = spread(torch.ones(s), over, 0)
        optimizer = ravine.torch.optimizer(its)(params)
        optimizer.step()
        kept = 0
        for p in params:
            for key, x in optimizer.state[p].items():
                part = x.to_local() if hasattr(x, "to_local") else x
                kept += part.numel() * part.element_size() if key != "step" else 4
        found = cost(its, model, dtype="float64", devices=2, shard="fsdp")
        assert found.state == kept, name
