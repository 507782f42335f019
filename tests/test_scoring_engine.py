"""The engine: every row is either scored or rejected, and nothing in a cell is lost."""

import csv
import datetime
import gzip
import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import assert_one_line_error, runs_of, tracking_in
from tables import (
    COLUMNS,
    MEASURED,
    NO_NUMBERS,
    TEXTS,
    assert_predicted,
    counts,
    predictions,
    read,
    rows_with_texts,
    table_of_many_types,
    write,
)
from wine import UserError, delimited
from wine.loading import load
from wine.scoring import engine
from wine.scoring.output import resolve


@pytest.fixture
def main_model(project, model_uris):
    with tracking_in(project):
        return load(model_uris["main"])


def test_row_with_a_text_that_is_no_number_is_rejected(score, model_uris, models):
    rows, good = rows_with_texts()
    write("wines.csv", rows)
    done = score(model_uris["main"], "wines.csv", "scored.csv")
    assert done.status == 3
    assert counts(done.out) == (len(good), len(rows) - len(good))
    _, scored = read("scored.csv")
    assert [row[:-1] for row in scored] == [rows[n - 1] for n in good]
    assert_predicted(scored, predictions(models["main"], [rows[n - 1] for n in good]))
    header, rejected = read("scored.csv.rejected.csv")
    assert header == ["row", "reason", *COLUMNS]
    assert [int(row[0]) for row in rejected] == [
        n for n in range(1, len(rows) + 1) if n not in good
    ]
    for number, reason, *cells in rejected:
        assert cells == rows[int(number) - 1]
        column = COLUMNS[(int(number) - 1) % len(COLUMNS)]
        text = rows[int(number) - 1][(int(number) - 1) % len(COLUMNS)]
        assert f"column '{column}': received '{text}', allowed is a finite number" == reason


def test_rows_are_read_as_spreadsheets_and_people_write_them(score, model_uris, models):
    one = ",".join(MEASURED[0])
    lines = [
        "name," + ",".join(COLUMNS),
        f'"comma, inside",{one}',  # 1
        f'"say ""cheers""",{one}',  # 2
        f'"two\nlines",{one}',  # 3
        "",
        f"tab\there,{one}",  # 4
        f"short,{one.rpartition(',')[0]}",  # 5
        f"long,{one},9",  # 6
        "lonely",  # 7
        "",
        f'"bad, too",dry{one[one.index(",") :]}',  # 8
        f"last,{one}",  # 9, without a line's end
    ]
    for end in ("\n", "\r\n"):
        for mark in (b"", b"\xef\xbb\xbf"):
            text = end.join(lines).replace("two\nlines", f"two{end}lines")
            with open("wines.csv", "wb") as file:
                file.write(mark + text.encode())
            done = score(model_uris["main"], "wines.csv", "scored.csv", "true")
            assert (done.status, counts(done.out)) == (3, (5, 4)), done.err
            header, scored = read("scored.csv")
            assert header[0].lstrip("\ufeff") == "name"
            assert [row[0] for row in scored] == [
                "comma, inside",
                'say "cheers"',
                f"two{end}lines",
                "tab\there",
                "last",
            ]
            assert_predicted(scored, predictions(models["main"], MEASURED[:1] * 5))
            _, rejected = read("scored.csv.rejected.csv")
            assert [row[0] for row in rejected] == ["5", "6", "7", "8"]
            assert [row[2] for row in rejected] == ["short", "long", "lonely", "bad, too"]
            assert all("allowed are 12 cells" in row[1] for row in rejected[:3])
            assert f"long,{one},9" in rejected[1][1] or "9" in rejected[1][-1]


def test_long_stretches_of_rows_with_too_few_cells_are_rejected(score, model_uris):
    stretch = [["too short", f"{n:50}"] for n in range(40_000)]
    write("wines.csv", [*stretch, *MEASURED[:3], *stretch, *MEASURED[3:5], *stretch])
    done = score(model_uris["main"], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (5, 120_000)), done.err
    assert [row[:-1] for row in read("scored.csv")[1]] == MEASURED[:5]
    _, rejected = read("scored.csv.rejected.csv")
    scored = {40_001, 40_002, 40_003, 80_004, 80_005}
    assert [int(row[0]) for row in rejected] == [n for n in range(1, 120_006) if n not in scored]
    assert [row[3] for row in rejected] == [row[1] for row in stretch] * 3
    assert {len(row) for row in rejected} == {2 + len(COLUMNS)}


def test_text_is_kept_character_by_character(score, model_uris):
    rows = [[text, *MEASURED[n], text] for n, text in enumerate(TEXTS)]
    write("wines.csv", rows, ["a", *COLUMNS, "b c"])
    assert score(model_uris["main"], "wines.csv", "scored.csv").status == 0
    assert [row[:-1] for row in read("scored.csv")[1]] == rows
    assert score(model_uris["main"], "wines.csv", "scored.parquet").status == 0
    scored = pq.read_table("scored.parquet").to_pandas(types_mapper=None)
    assert scored["a"].tolist() == TEXTS
    assert scored["b c"].tolist() == TEXTS


def test_invalid_rows_do_not_change_the_predictions_of_the_others(score, model_uris):
    draw = random.Random(1)
    clean = [[str(n), *MEASURED[n % len(MEASURED)]] for n in range(1, 40_001)]
    bad = sorted(draw.sample(range(1, 40_001), 400))
    dirty = [[*row] for row in clean]
    for number in bad:
        row = dirty[number - 1]
        if draw.random() < 0.2:
            del row[draw.randrange(2, 11) :]
        else:
            row[draw.randrange(1, 12)] = draw.choice(NO_NUMBERS)
    write("clean.csv", clean, ["id", *COLUMNS])
    write("dirty.csv", dirty, ["id", *COLUMNS])
    assert score(model_uris["main"], "clean.csv", "clean scored.csv").status == 0
    done = score(model_uris["main"], "dirty.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (39_600, 400))
    _, answers = read("clean scored.csv")
    _, scored = read("scored.csv")
    _, rejected = read("scored.csv.rejected.csv")
    assert [int(row[0]) for row in rejected] == bad
    assert [row[2] for row in rejected] == [str(number) for number in bad]
    answers = [row for row in answers if int(row[0]) not in bad]
    assert [row[:-1] for row in scored] == [row[:-1] for row in answers]
    assert_predicted(scored, np.array(answers)[:, -1:].astype(float))


def test_columns_of_parquet_keep_their_types(score, model_uris, models):
    table = table_of_many_types()
    pq.write_table(table, "wines.parquet", row_group_size=7)
    done = score(model_uris["main"], "wines.parquet", "scored.parquet")
    assert (done.status, counts(done.out)) == (3, (36, 4)), done.err
    good = [n for n in range(39) if n not in (3, 4, 5)]
    scored = pq.read_table("scored.parquet")
    at = table.column_names.index("pH")  # in Parquet a number is a number
    as_number = table.take(good)
    as_number = as_number.set_column(at, "pH", as_number["pH"].cast("double"))
    assert scored.drop_columns("prediction").equals(as_number)
    assert scored.column_names == [*table.column_names, "prediction"]
    rows = table.select(COLUMNS).take(good).to_pandas().astype(float).to_numpy()
    assert_predicted(
        scored.select(["prediction"]).to_pandas().to_numpy(), predictions(models["main"], rows)
    )
    _, rejected = read("scored.parquet.rejected.csv")
    assert [row[0] for row in rejected] == ["4", "5", "6", "40"]
    assert all("column 'alcohol': received" in row[1] for row in rejected[:3])
    assert "column 'pH': received 'dry'" in rejected[3][1]


def test_no_rows_or_only_invalid_ones_make_an_empty_table(score, model_uris, store):
    write("none.csv", [])
    done = score(model_uris["classifier"], "none.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (0, (0, 0)), done.err
    assert read("scored.csv") == ([*COLUMNS, "prediction", "probability"], [])
    write("bad.csv", [[""] * 11] * 5)
    done = score(model_uris["classifier"], "bad.csv", "scored.parquet")
    assert (done.status, counts(done.out)) == (3, (0, 5)), done.err
    assert pd.read_parquet("scored.parquet").columns.tolist() == read("scored.csv")[0]
    assert runs_of(store)[0].data.metrics["rejected_rows"] == 5


def test_rejects_of_an_earlier_scoring_do_not_stay(score, model_uris):
    write("wines.csv", [MEASURED[0], ["dry"] * 11])
    assert score(model_uris["main"], "wines.csv", "scored.csv").status == 3
    write("wines.csv", MEASURED[:3])
    assert score(model_uris["main"], "wines.csv", "scored.csv", "true").status == 0
    assert sorted(os.listdir()) == ["scored.csv", "wines.csv"]


@pytest.mark.parametrize("name", ["scored.csv", "scored.csv.rejected.csv"])
def test_file_that_appears_meanwhile_is_not_replaced(name, tmp_path, main_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("wines.csv", [*MEASURED[:3], ["dry"] * 11])
    table = engine.open_table("wines.csv", main_model)
    location = resolve("scored.csv", table.location, overwrite=False)
    Path(name).write_text("mine")
    with pytest.raises(UserError, match=f"output: .*{name} is there already"):
        engine.score_file(table, main_model, location, overwrite=False)
    assert Path(name).read_text() == "mine"
    assert sorted(os.listdir()) == sorted([name, "wines.csv"])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_in_a_cell_at_the_edge_of_a_block_are_kept(
    end, tmp_path, main_model, monkeypatch
):
    """At some of these lengths a block ends between the CR and the LF of the quoted cell."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(delimited, "BLOCK_SIZE", 512)
    one = ",".join(MEASURED[0])
    for length in range(300, 340):
        text = "x" * length + f"{end}y"
        lines = [",".join(["note", *COLUMNS]), f'"{text}",{one}', f"b,{one}"]
        Path("wines.csv").write_text("\n".join(lines) + "\n", newline="")
        table = engine.open_table("wines.csv", main_model)
        engine.score_file(table, main_model, str(tmp_path / "scored.csv"), overwrite=True)
        assert [row[0] for row in read("scored.csv")[1]] == [text, "b"]


def test_lone_carriage_return_is_quoted(score, model_uris):
    header, one = ["a\rb", *COLUMNS], ",".join(MEASURED[0])
    invalid = ",".join(["dry"] * 11)
    text = f'"a\rb",{",".join(COLUMNS)}\n"c\rd",{one}\n"e\rf",{invalid}\n'
    Path("wines.csv").write_text(text, newline="")
    assert score(model_uris["main"], "wines.csv", "scored.csv").status == 3
    found, (scored,) = read("scored.csv")
    assert (found, scored[:-1]) == ([*header, "prediction"], ["c\rd", *MEASURED[0]])
    found, (rejected,) = read("scored.csv.rejected.csv")
    assert (found, rejected[2]) == (["row", "reason", *header], "e\rf")


def test_header_without_a_line_end_is_an_empty_table(score, model_uris):
    for name, opened in (("wines.csv", open), ("wines.csv.gz", gzip.open)):
        with opened(name, "wt") as file:
            file.write(",".join(COLUMNS))
        done = score(model_uris["main"], name, "scored.csv", "true")
        assert (done.status, counts(done.out)) == (0, (0, 0)), done.err
        assert read("scored.csv") == ([*COLUMNS, "prediction"], [])


@pytest.mark.parametrize(
    ("entry_point", "text"), [("classifier", "1e39"), ("huber", "1e308"), ("main", "-1e31")]
)
def test_number_too_large_for_the_model_is_rejected(score, model_uris, entry_point, text):
    write("wines.csv", [MEASURED[0], [*MEASURED[1][:-1], text], MEASURED[2]])
    done = score(model_uris[entry_point], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (2, 1)), done.err
    ((number, reason, *_),) = read("scored.csv.rejected.csv")[1]
    allowed = "allowed is a finite number from -1e30 to 1e30"
    assert (number, reason) == ("2", f"column 'alcohol': received '{text}', {allowed}")


def parquet(name, **columns):
    """Write a Parquet file of wines in which some columns are replaced or added."""
    n_rows = len(next(iter(columns.values()))) if columns else 4
    wines = np.array(MEASURED[:n_rows], dtype=float)
    pq.write_table(pa.table(dict(zip(COLUMNS, wines.T, strict=True)) | columns), name)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime.datetime(2020, 1, 1)] * 4),
        pa.array([datetime.date(2020, 1, 1)] * 4),
        pa.array([[1.0]] * 4),
        pa.array([True, False, True, True]),
        pa.array([b"3.1"] * 4),
        pa.array([{"a": 1.0}] * 4),
    ],
    ids=lambda values: str(values.type),
)
def test_type_that_cannot_be_a_measurement_is_refused(score, model_uris, values):
    parquet("wines.parquet", pH=values)
    result = score(model_uris["main"], "wines.parquet", "scored.parquet")
    refused = "input: column 'pH' has the type ", " in wines.parquet, allowed are numbers"
    assert_one_line_error(result, *refused, str(values.type).partition("<")[0], status=1)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_text_of_any_type_is_a_measurement(score, model_uris, models, kind):
    texts = ["3.1", " 3.2\t", "dry", None]
    values = pa.array(texts, pa.string())
    is_dictionary = pa.types.is_dictionary(kind)
    parquet("wines.parquet", pH=values.dictionary_encode() if is_dictionary else values.cast(kind))
    done = score(model_uris["main"], "wines.parquet", "scored.parquet")
    assert (done.status, counts(done.out)) == (3, (2, 2)), done.err
    scored = pq.read_table("scored.parquet")
    assert (scored["pH"].type, scored["pH"].to_pylist()) == (pa.float64(), [3.1, 3.2])
    reasons = [row[1] for row in read("scored.parquet.rejected.csv")[1]]
    assert reasons == [
        "column 'pH': received 'dry', allowed is a finite number",
        "column 'pH': received '', allowed is a finite number",
    ]


def test_integer_that_a_float_cannot_hold_is_rejected(score, model_uris):
    parquet("wines.parquet", pH=pa.array([3, 2**53 - 1, 2**53 + 1, -(2**62)]))
    done = score(model_uris["main"], "wines.parquet", "scored.parquet")
    assert (done.status, counts(done.out)) == (3, (2, 2)), done.err
    reasons = [row[1] for row in read("scored.parquet.rejected.csv")[1]]
    assert reasons[0].startswith("column 'pH': received '9007199254740993', allowed is")


def test_date_out_of_range_is_rejected_in_csv_and_kept_in_parquet(score, model_uris):
    parquet("wines.parquet", day=pa.array([0, 2**31 - 1, 1, 2], pa.date32()))
    for output, status in (("scored.parquet", 0), ("scored.csv", 3)):
        done = score(model_uris["main"], "wines.parquet", output)
        assert done.status == status, done.err
    assert pq.read_table("scored.parquet")["day"].cast("int32").to_pylist() == [0, 2**31 - 1, 1, 2]
    ((number, reason, *_),) = read("scored.csv.rejected.csv")[1]
    assert (number, reason[:22]) == ("2", "column 'day': received")
    parquet("invalid.parquet", day=pa.array([2**31 - 1], pa.date32()), pH=pa.array(["dry"]))
    done = score(model_uris["main"], "invalid.parquet", "invalid.csv")
    assert (done.status, counts(done.out)) == (3, (0, 1)), done.err


def test_quote_that_is_never_closed_makes_one_rejected_row(score, model_uris):
    one = ",".join(MEASURED[0])
    rest = "".join(f"{one}\n" for _ in range(4000))  # more than Python's csv takes for a cell
    Path("wines.csv").write_text(f'{",".join(COLUMNS)}\n{one}\n"{one}\n{rest}')
    done = score(model_uris["main"], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (1, 1)), done.err
    assert done.out.endswith(", which are 4001 lines of the input\n")
    ((number, reason, *_),) = read("scored.csv.rejected.csv")[1]
    assert number == "2"
    assert reason.endswith("allowed are 11 cells; a quote holds 4001 lines of the file together")


def test_row_longer_than_a_block_is_refused(score, model_uris):
    one = ",".join(MEASURED[0])
    Path("wines.csv").write_text(f'{",".join(COLUMNS)}\n{one}\n"{one}\n' + f"{one}\n" * 90_000)
    result = score(model_uris["main"], "wines.csv", "scored.csv")
    assert_one_line_error(result, status=1)
    assert "straddling" not in result.err
    assert "wines.csv cannot be read: behind row " in result.err
    assert "perhaps a quote is opened there and not closed" in result.err


def test_malformed_row_with_a_long_cell_is_rejected_with_all_its_text(score, model_uris):
    write("wines.csv", [MEASURED[0], ["x" * 200_000, "y"], MEASURED[1]])
    done = score(model_uris["main"], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (2, 1)), done.err
    ((_, reason, *cells),) = read("scored.csv.rejected.csv")[1]
    assert len(reason) < 300
    csv.field_size_limit(2**20)
    assert cells[:2] == ["x" * 200_000, "y"]
