"""Scoring: every row is scored or rejected, nothing in a cell is lost, and all appears or none."""

import gzip
import os
from pathlib import Path

from sklearn.linear_model import LinearRegression

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extras import models, scoring
from tables import (
    COLUMNS,
    MEASURED,
    TEXTS,
    WHOLE,
    assert_predicted,
    read,
    rows_with_texts,
    table_of_many_types,
    write,
)
from wine import UserError, model, tables

WINES = pd.DataFrame(np.array(MEASURED, dtype=float), columns=COLUMNS)
LINEAR = LinearRegression().fit(WINES, [float(cells[-1]) for cells in WHOLE])
MODEL = models.Model("m", None, COLUMNS, [], (), LINEAR, ["prediction"], model.deciles(WINES))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Let each test score in its own folder."""
    monkeypatch.chdir(tmp_path)


def score(data, output="scored.csv", model=MODEL):
    """Score a file as the script does, without MLflow; return how many were scored and rejected."""
    location = scoring.resolve(output, tables.locate(data), overwrite=True)
    table = scoring.open_table(data, model, location)
    with scoring.whole(location, overwrite=True) as made:
        return scoring.score_file(table, model, *made)


def expected(rows):
    """Return the model's own predictions, one row a wine."""
    rows = pd.DataFrame(np.array(rows, dtype=float), columns=COLUMNS)
    return LINEAR.predict(rows)[:, np.newaxis]


def test_row_with_a_text_that_is_no_number_is_rejected():
    rows, good = rows_with_texts()
    write("wines.csv", rows)
    counts = score("wines.csv")
    assert (counts.scored, counts.rejected) == (len(good), len(rows) - len(good))
    _, scored = read("scored.csv")
    assert [row[:-1] for row in scored] == [rows[n - 1] for n in good]
    assert_predicted(scored, expected([rows[n - 1] for n in good]))
    header, rejected = read("scored.csv.rejected.csv")
    assert header == ["row", "reason", *COLUMNS]
    bad = [n for n in range(1, len(rows) + 1) if n not in good]
    assert [int(row[0]) for row in rejected] == bad
    for number, reason, *cells in rejected:
        assert cells == rows[int(number) - 1]
        assert f"column '{COLUMNS[(int(number) - 1) % len(COLUMNS)]}': received " in reason


def test_row_whose_prediction_is_not_finite_is_rejected_under_its_number():
    """Its measurements are allowed; it is the model that cannot hold what comes of them."""
    huge = LinearRegression().fit(WINES, WINES["pH"])
    huge.coef_ = np.where(WINES.columns == "alcohol", 1e300, 0.0)
    for n_rows in (20, 30_000):  # in one batch and in several
        rows = [[str(n), *MEASURED[n % 4898]] for n in range(1, n_rows + 1)]
        rows[3][-1], rows[-2][-1], rows[6][-1] = "1e20", "-1e20", "dry"
        del rows[2][5:]
        write("wines.csv", rows, ["id", *COLUMNS])
        with np.errstate(all="ignore"):
            counts = score("wines.csv", model=MODEL._replace(estimator=huge))
        assert (counts.scored, counts.rejected) == (n_rows - 4, 4)
        _, rejected = read("scored.csv.rejected.csv")
        numbers = ["3", "4", "7", str(n_rows - 1)]
        assert [row[0] for row in rejected] == [row[2] for row in rejected] == numbers
        assert rejected[1][1] == "prediction: received inf, allowed is a finite number"
        assert rejected[1][2:] == rows[3]


def test_text_is_kept_character_by_character():
    rows = [[text, *MEASURED[n], text] for n, text in enumerate([*TEXTS, "e;f,", 'g"'])]
    write("wines.csv", rows, ["a", *COLUMNS, "b c"])
    score("wines.csv")
    assert [row[:-1] for row in read("scored.csv")[1]] == rows
    score("wines.csv", "scored.parquet")
    scored = pq.read_table("scored.parquet")
    assert scored["a"].to_pylist() == scored["b c"].to_pylist() == [row[0] for row in rows]


def test_lone_carriage_return_is_quoted():
    one, invalid = ",".join(MEASURED[0]), ",".join(["dry"] * 11)
    text = f'"a\rb",{",".join(COLUMNS)}\n"c\rd",{one}\n"e\rf",{invalid}\n'
    Path("wines.csv").write_text(text, newline="")
    score("wines.csv")
    found, (scored,) = read("scored.csv")
    assert (found[0], scored[:-1]) == ("a\rb", ["c\rd", *MEASURED[0]])
    found, (rejected,) = read("scored.csv.rejected.csv")
    assert (found[2], rejected[2]) == ("a\rb", "e\rf")


def test_output_has_the_delimiter_and_the_decimal_sign_of_the_input():
    rows = [[cell.replace(".", ",") for cell in wine] for wine in MEASURED[:20]]
    lines = [";".join(row) for row in [COLUMNS, *rows, ["dry"] * 11]]
    Path("wines.csv").write_text("\n".join(lines))
    score("wines.csv")
    header, *scored = Path("scored.csv").read_text().splitlines()
    assert header == ";".join([*COLUMNS, "prediction"])
    assert [line.split(";")[:-1] for line in scored] == rows
    found = [[line.split(";")[-1].replace(",", ".")] for line in scored]
    assert_predicted(found, expected(MEASURED[:20]))
    assert Path("scored.csv.rejected.csv").read_text().count(";") == 2 * 12


def test_columns_of_parquet_keep_their_types():
    table = table_of_many_types()
    pq.write_table(table, "wines.parquet", row_group_size=7)
    counts = score("wines.parquet", "scored.parquet")
    assert (counts.scored, counts.rejected) == (36, 4)
    good = [n for n in range(39) if n not in (3, 4, 5)]
    scored = pq.read_table("scored.parquet")
    at = table.column_names.index("pH")  # in Parquet a number is a number
    as_number = table.take(good)
    as_number = as_number.set_column(at, "pH", as_number["pH"].cast("double"))
    assert scored.drop_columns("prediction").equals(as_number)
    rows = table.select(COLUMNS).take(good).to_pandas().astype(float)
    assert_predicted(scored.select(["prediction"]).to_pandas().to_numpy(), expected(rows))
    _, rejected = read("scored.parquet.rejected.csv")
    assert [row[0] for row in rejected] == ["4", "5", "6", "40"]
    assert "column 'pH': received 'dry'" in rejected[3][1]


def test_no_rows_or_only_invalid_ones_make_an_empty_table():
    write("none.csv", [])
    assert score("none.csv")[:2] == (0, 0)
    assert read("scored.csv") == ([*COLUMNS, "prediction"], [])
    write("bad.csv", [[""] * 11] * 5)
    assert score("bad.csv", "scored.parquet")[:2] == (0, 5)
    assert pd.read_parquet("scored.parquet").columns.tolist() == [*COLUMNS, "prediction"]


def test_files_of_every_kind_are_scored_alike_and_their_counts_are_added():
    WINES.to_csv("wines.csv", index=False)
    WINES.to_parquet("wines.parquet")
    with gzip.open("wines.csv.gz", "wb") as packed:
        packed.write(Path("wines.csv").read_bytes())
    found = [score("wines.csv.gz", "a.csv.gz"), score("wines.csv", "c.parquet")]
    found.append(score("wines.parquet", "b.csv"))
    for name in ("a.csv.gz", "b.csv"):
        table = pd.read_csv(name, float_precision="round_trip")
        np.testing.assert_array_equal(table, pd.read_parquet("c.parquet"))
    total = sum(found, scoring.Counts())
    assert (total.scored, total.predictions.total()) == (3 * 4898, 3 * 4898)
    assert total.drift.tolist() == (3 * found[0].drift).tolist()
    assert all(float(f"{value:.4g}") == pytest.approx(value) for value in total.predictions)


@pytest.mark.parametrize(
    ("column", "kind"),
    [([["a"]] * 4, "list"), ([{"a": 1}] * 4, "struct"), ([b"ok", None, b"\xff", b""], "binary")],
)
def test_column_that_csv_cannot_hold_is_named(column, kind):
    wines = pa.Table.from_pandas(WINES[:4])
    pq.write_table(wines.append_column("tags", pa.array(column)), "wines.parquet")
    with pytest.raises(UserError, match=rf"input: column 'tags' .* has {kind}.* \.parquet can"):
        score("wines.parquet")
    assert os.listdir() == ["wines.parquet"]
    score("wines.parquet", "scored.parquet")
    assert pq.read_table("scored.parquet")["tags"].to_pylist() == column


def test_names_that_repeat_stay_in_csv_and_are_refused_for_parquet():
    write("wines.csv", [[*wine, "1", "2"] for wine in MEASURED[:3]], [*COLUMNS, "x", "x"])
    score("wines.csv")
    assert read("scored.csv")[0][-3:] == ["x", "x", "prediction"]
    with pytest.raises(UserError, match="column 'x' is in wines.csv more than once; only CSV can"):
        score("wines.csv", "scored.parquet")
    with pytest.raises(UserError, match="column 'prediction' is in scored.csv already"):
        score("scored.csv", "again.csv")


def resolve(output, source="wines.csv", **options):
    return scoring.resolve(output, tables.locate(source), **({"overwrite": False} | options))


def test_output_that_cannot_be_made_is_refused():
    for name in ("wines.csv", "b.csv.rejected.csv", "a.csv.rejected.csv"):
        write(name, MEASURED[:3])
    os.symlink("wines.csv", "linked.csv")
    os.mkdir("d.csv")
    write("d.csv/wines.csv", MEASURED[:3])
    for output, source, overwrite, reason in (
        ("scored.xlsx", "wines.csv", False, "received 'scored.xlsx', allowed is a path to .csv"),
        ("s3://x/a.csv", "wines.csv", False, "received 's3://x/a.csv', allowed is a path to .csv"),
        ("none/a.csv", "wines.csv", False, "received 'none/a.csv', there is no folder"),
        ("linked.csv", "wines.csv", True, "wines.csv is the input, or in "),
        ("a.csv", "a.csv.rejected.csv", True, "a.csv.rejected.csv is the input, or in "),
        ("wines.csv", Path("wines.csv").absolute().as_uri(), True, "wines.csv is the input, or"),
        ("d.csv", "d.csv/wines.csv", True, "d.csv; allowed is another name"),
        ("b.csv", "wines.csv", False, "b.csv.rejected.csv is there already; overwrite=true"),
    ):
        with pytest.raises(UserError, match="^output: ") as caught:
            scoring.resolve(output, tables.locate(source), overwrite)
        assert reason in str(caught.value)
    assert scoring.resolve("b.csv", "wines.csv", overwrite=True) == Path("b.csv").resolve()
    for name, reason in (("x" * 250, "cannot be written: .*File name too"), ("b", "is there alr")):
        output = Path(f"{name}.csv")
        with pytest.raises(UserError, match=reason), scoring.whole(output, overwrite=False):
            output.touch()  # as if another scoring had made it meanwhile
    assert not [name for name in os.listdir() if name.startswith(".")]


def test_output_replaces_that_of_before_and_its_rejects(tmp_path):
    output = tmp_path / "a.csv"
    for n, make in enumerate((Path.mkdir, Path.touch, Path.mkdir)):
        with scoring.whole(output, overwrite=True) as made:
            for path in made[: 1 if n == 2 else 2]:
                make(path)
            assert n or all(name.startswith(".") for name in os.listdir())
        assert output.is_dir() == (make is Path.mkdir)
    assert os.listdir() == ["a.csv"]


def test_output_whose_rejects_cannot_be_replaced_stays(tmp_path, monkeypatch):
    """On Windows, a file that Excel shows cannot be moved; here, a patch stands for that."""
    for name in ("a.csv", "a.csv.rejected.csv"):
        (tmp_path / name).write_text("before")
    replace = Path.replace

    def keep_rejects(path, target):
        if path == tmp_path / "a.csv.rejected.csv":
            raise PermissionError("another program has it open")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", keep_rejects)
    write("wines.csv", MEASURED[:3])
    with pytest.raises(UserError, match="a.csv cannot be written: another program has it open"):
        score("wines.csv", "a.csv")
    assert {path.read_text() for path in tmp_path.glob("a.csv*")} == {"before"}
    assert len(os.listdir()) == 3
