"""All runs as a Parquet file, as DuckDB reads it: `make test-frameworks` installs both."""

import math
from pathlib import Path

import pytest
from test_runs import run

from ravine.races.runs import read

pytest.importorskip("pyarrow")

from ravine.races import parquet


def test_every_run_is_a_row_with_its_curves_as_lists(tmp_path):
    its = [run(seed=i, curve=((1, 2.5), (50, 1 / (i + 1)))[: i % 3]) for i in range(7)]
    its[3] = run(seed=3, lost="loss is NaN at step 3", lost_at=3, score=math.nan, curve=())
    path = parquet.write(its, tmp_path / "runs.parquet")
    table = parquet.parquet.read_table(path)
    assert table.schema.equals(parquet.SCHEMA)
    rows = table.to_pylist()
    assert [row["name"] for row in rows] == [x.name for x in its]
    assert [row["curve_steps"] for row in rows] == [[t for t, _ in x.curve] for x in its]
    assert rows[2]["curve_losses"] == pytest.approx([2.5, 1 / 3], rel=1e-7)
    assert rows[2]["evaluation_scores"] == [0.5]
    assert dict(rows[2]["hyperparameters"]) == {"lr": 0.1, "beta1": 0.9, "nesterov": 0.0}
    assert (rows[3]["lost_at"], rows[2]["lost_at"]) == (3, None)
    assert math.isnan(rows[3]["score"])
    assert rows[2]["steps_to_target"] == math.inf
    assert [x.name for x in tmp_path.iterdir()] == ["runs.parquet"]


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"missing/runs\.parquet cannot be written"):
        parquet.write([run()], tmp_path / "missing" / "runs.parquet")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet.parquet.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match=r"runs\.parquet cannot be written \(No space left"):
        parquet.write([run()], tmp_path / "runs.parquet")
    assert not [*tmp_path.iterdir()]


def test_the_recipe_of_the_docs(small, tmp_path, monkeypatch):
    """The queries of the page on large races give what the run files say."""
    duckdb = pytest.importorskip("duckdb")
    docs = Path(__file__).parents[2] / "docs/how-to/race-at-scale.md"
    monkeypatch.chdir(tmp_path)
    parquet.write(read(small), "runs.parquet")
    queries = [x.partition("```")[0] for x in docs.read_text().split("```sql\n")[1:]]
    found = [duckdb.sql(query).fetchall() for query in queries]
    assert len(found) >= 3
    assert all(found)
    runs = [x for x in read(small) if x.role == "report" and x.trial and x.problem == "waves"]
    best = max(
        sum(x.score for x in runs if x.optimizer == name) / 10
        for name in {x.optimizer for x in runs}
    )
    assert max(row[2] for row in found[0] if row[0] == "waves") == pytest.approx(best)
