"""Compute the table of docs/how-to/plan-a-step.md, and write it there.

python scripts/make_costs.py
"""

from pathlib import Path

from ravine import registry
from ravine.cli.cost import in_bytes, in_seconds
from ravine.costs import cost, transformer
from ravine.costs.machines import KNOWN
from ravine.races.atomic import write

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "plan-a-step.md"
BEGIN, END = "<!-- plan -->", "<!-- end -->"
RULES, DEVICES, PARAMS, DEVICE = (
    ("adamw", "muon", "shampoo", "soap"),
    (8, 64, 512, 4096),
    7e9,
    "h100",
)


def table() -> str:
    """For each rule and each way to share a step: state, least time and messages on so many devices."""
    machine, model = KNOWN[DEVICE], transformer(PARAMS)
    head = " | ".join(f"{n:,} devices" for n in DEVICES)
    rows = [f"| | shared by | {head} |", f"| :-- | :-- |{' --: |' * len(DEVICES)}"]
    for name in RULES:
        for shard in ("zero1", "fsdp"):
            cells = []
            for devices in DEVICES:
                found = cost(
                    registry.get(name), model, dtype="bfloat16", devices=devices, shard=shard
                )
                sent = f", {in_bytes(found.sent)} sent" if found.sent else ""
                cells.append(f"{in_bytes(found.state)}, {in_seconds(found.seconds(machine))}{sent}")
            rows.append(f"| `{name}` | {shard} | {' | '.join(cells)} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """The page with its table brought up to date."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    write(PAGE, page(PAGE.read_text("utf-8")).encode())
