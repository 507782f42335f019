"""The files of a scoring: nothing is replaced that must stay, nothing in a cell is lost."""

import csv
import datetime
import gzip
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import PROJECT, assert_one_line_error, run_command, tracking_in
from tables import COLUMNS, MEASURED, counts, read, write
from wine import UserError, delimited
from wine.model import load
from wine.scoring import engine
from wine.scoring.output import resolve


@pytest.fixture
def main_model(project, model_uris):
    with tracking_in(project):
        return load(model_uris["main"])


# What must stay


def test_rejects_never_replace_the_input(score, model_uris):
    write("out.csv.rejected.csv", [["dry"] * 11])
    for overwrite in ("false", "true"):
        result = score(model_uris["main"], "out.csv.rejected.csv", "out.csv", overwrite)
        assert_one_line_error(result, "output: ", "out.csv.rejected.csv is the input", status=1)
    assert read("out.csv.rejected.csv") == (COLUMNS, [["dry"] * 11])


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_output_that_is_a_link_to_the_input_is_refused(score, model_uris, link):
    write("wines.csv", MEASURED[:3])
    link("wines.csv", "scored.csv")
    result = score(model_uris["main"], "wines.csv", "scored.csv", "true")
    assert_one_line_error(result, "output: ", "is the input", status=1)
    assert read("wines.csv") == (COLUMNS, MEASURED[:3])


def test_rejects_that_are_there_are_not_replaced(score, model_uris):
    write("wines.csv", MEASURED[:3])
    Path("scored.csv.rejected.csv").write_text("mine")
    result = score(model_uris["main"], "wines.csv", "scored.csv")
    assert_one_line_error(result, "scored.csv.rejected.csv is there already", status=1)
    assert Path("scored.csv.rejected.csv").read_text() == "mine"
    assert not Path("scored.csv").exists()


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


def test_output_that_is_a_link_to_itself_is_refused(score, model_uris):
    write("wines.csv", MEASURED[:3])
    os.symlink("loop.csv", "loop.csv")
    result = score(model_uris["main"], "wines.csv", "loop.csv", "true")
    assert_one_line_error(result, "output: received 'loop.csv'", status=1)


# What is in a cell


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


# Numbers and types


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


# Quotes


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


# Models


@pytest.mark.parametrize("file", ["MLmodel", "model.skops"])
@pytest.mark.parametrize("size", [0, 300])
def test_damaged_model_is_refused_in_one_line(score, project, run_ids, file, size, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(project / "mlruns" / "0" / run_ids["main"] / "artifacts" / "model", folder)
    (folder / file).write_bytes((folder / file).read_bytes()[:size])
    write("wines.csv", MEASURED[:3])
    result = score(str(folder), "wines.csv", "scored.csv")
    assert_one_line_error(result, f"model: received '{folder}' (", status=1)


@pytest.mark.parametrize("uri", ["s3://wine/model", "gs://wine/model", "abc://wine"])
def test_model_address_that_needs_a_package_is_refused_in_one_line(uri, tmp_path):
    write(tmp_path / "wines.csv", MEASURED[:3])
    command = (sys.executable, PROJECT / "score.py", uri, "wines.csv", "scored.csv")
    done = run_command(*command, cwd=tmp_path)
    assert_one_line_error(done, f"model: received '{uri}' (", status=1)
