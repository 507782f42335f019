"""Tables in the forms in which people have them: what is read, and what is refused."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import PROJECT
from tables import COLUMNS, MEASURED, counts, read
from wine import UserError, dataset, delimited
from wine.rows import Column
from wine.tables import Table

WINES = pd.read_csv(PROJECT / "wine-quality.csv").head(200)
PLAIN = WINES.to_csv(index=False)
NEEDED = [Column(name) for name in WINES.columns]


def export(**options):
    """Return the wines as CSV."""
    return WINES.to_csv(index=False, **options)


def archive(kind, members):
    """Return a zip or tar file with these members."""
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in members.items():
                file.writestr(name, text)
    else:
        with tarfile.open(fileobj=packed, mode=kind) as file:
            for name, text in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                file.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


def renamed(change):
    """Return the wines as CSV, with other names."""
    return WINES.rename(columns=change).to_csv(index=False).encode()


def zstandard(text):
    """Return a text, compressed."""
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(text)
    return packed.getvalue().to_pybytes()


COMMA = export(sep=";", decimal=",")
FOLDED = "names without regard to case, blanks, '_', '.' and '-'"
FORMS = {
    "plain": (PLAIN.encode(), ""),
    "R": (PLAIN.replace(" ", ".").encode(), FOLDED),
    "semicolons, quoted header": (
        ('"' + PLAIN.replace(",", '","', 11).replace("\n", '"\n', 1)).replace(",", ";").encode(),
        "separated by ';'",
    ),
    "tabs": (export(sep="\t").encode(), "separated by tabs"),
    "bars": (export(sep="|").encode(), "separated by '|'"),
    "Excel in Portuguese": (
        b"\xef\xbb\xbf" + COMMA.replace("\n", "\r\n").encode(),
        "separated by ';', decimal comma",
    ),
    "Excel's line sep=": (b"sep=;\r\n" + COMMA.encode(), "separated by ';', decimal comma"),
    "Excel's line sep= with another sign": (
        b'"sep=^"\n' + PLAIN.replace(",", "^").encode(),
        "separated by '^'",
    ),
    "Excel's UTF-8": (b"\xef\xbb\xbf" + PLAIN.encode(), ""),
    "UTF-16": (export(sep="\t").encode("utf-16"), "UTF-16, separated by tabs"),
    "UTF-16, high byte first": (
        b"\xfe\xff" + export(sep="\t", decimal=",").encode("utf-16-be"),
        "UTF-16, separated by tabs, decimal comma",
    ),
    "carriage returns": (PLAIN.replace("\n", "\r").encode(), ""),
    "blank lines first": (b"\n\r\n" + PLAIN.encode(), ""),
    "underscores": (renamed(lambda name: name.replace(" ", "_")), FOLDED),
    "capitals and blanks": (renamed(lambda name: f" {name.title()} "), FOLDED),
    "gzip": (gzip.compress(PLAIN.encode()), ""),
    "bzip2": (bz2.compress(PLAIN.encode()), ""),
    "xz": (lzma.compress(PLAIN.encode()), ""),
    "zstandard": (zstandard(PLAIN.encode()), ""),
    "zip": (archive("zip", {"a/wines.csv": PLAIN, "README.txt": "white"}), "a/wines.csv"),
    "zip of one text": (archive("zip", {"wines.txt": COMMA}), "wines.txt, separated by ';', "),
    "tar": (archive("w", {"wines.csv": PLAIN}), "wines.csv"),
    "tar in gzip": (archive("w:gz", {"wines.csv": PLAIN}), "wines.csv"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_wines(form, tmp_path):
    content, said = FORMS[form]
    (tmp_path / "wines").write_bytes(content)
    table = Table(str(tmp_path / "wines"), "data", NEEDED)
    np.testing.assert_array_equal(table.read(), WINES.to_numpy(float))
    assert table.describe().startswith(said)
    assert bool(table.describe()) == bool(said)
    # A scoring reads all columns as texts.
    (batch,) = [each for each in table.batches() if len(each.X)]
    np.testing.assert_array_equal(batch.X, WINES.to_numpy(float))
    assert batch.cells.num_columns == 12


@pytest.mark.parametrize(
    ("lines", "n_valid"),
    [
        (["a;b", "0,5;1", "1.234;2", "7;3"], 2),  # A point: 0,5 is no number then.
        (["a;b", "1,234;5", "7;3"], 1),  # A comma that may separate thousands.
        (["a;b", "1,234;5", "0,25;3"], 2),
        (["a;b", "1,234;5", "1234,567;3"], 2),
        (["a;b", "-,5;5", "+2,5e3;3"], 2),
        (["a;b", "1.234,5;1", "2,5;1"], 0),  # Points that separate thousands.
        (["a,b", '"0,5",1', "7,3"], 1),  # No decimal comma where commas separate the cells.
    ],
)
def test_decimal_comma_has_to_be_proved(lines, n_valid, tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(lines))
    table = Table(str(tmp_path / "a.csv"), "input", [Column("a"), Column("b")])
    assert sum(len(batch.X) for batch in table.batches()) == n_valid


def test_rows_that_contradict_the_decimal_sign_later_are_invalid(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_SIZE", 200)
    lines = ["a;b", *["0,25;1"] * 300, "0.5;2", "0,5;3"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    table = Table(str(tmp_path / "a.csv"), "input", [Column("a"), Column("b")])
    invalid = [row for batch in table.batches() for row in batch.invalid]
    assert [(row.number, row.received) for row in invalid] == [(301, "0.5")]
    with pytest.raises(UserError, match="^input: column 'a', row 301 of .* received '0.5'"):
        table.read()


def test_names_are_matched_exactly_first(tmp_path):
    (tmp_path / "a.csv").write_text("PH,pH,p_H\n1,2,3\n")
    table = Table(str(tmp_path / "a.csv"), "data", [Column("pH")])
    assert (table.read().to_numpy().tolist(), table.describe()) == ([[2.0]], "")


REFUSED = {
    "xlsx": (archive("zip", {"[Content_Types].xml": "", "xl/a.xml": ""}), ["is a workbook"]),
    "xls": (b"\xd0\xcf\x11\xe0" + bytes(600), ["is a workbook", "save its sheet as 'CSV UTF-8'"]),
    "zip of two tables": (
        archive("zip", {"red.csv": PLAIN, "white.csv": PLAIN, "a.names": "text"}),
        ["an archive of 2 tables", "red.csv, white.csv"],
    ),
    "tar of two files": (
        archive("w:bz2", {"a": PLAIN, "b": PLAIN}),
        ["an archive of 2 tables", "a, b"],
    ),
    "empty zip": (archive("zip", {}), ["cannot be read"]),
    "name that is missing": (
        PLAIN.replace("pH", "PH").replace("density", "ph").encode(),
        ["'density' is missing"],
    ),
    "name that repeats": (
        PLAIN.replace("\n", ",1\n").replace(",1", ",alcohol", 1).encode(),
        ["'alcohol' stands there more than once"],
    ),
    "names that fold to one": (
        PLAIN.replace("pH", "PH").replace("\n", ",1\n").replace(",1", ",ph", 1).encode(),
        ["column 'pH' is missing, and 'PH' or 'ph' may be it"],
    ),
    "no header": (
        PLAIN.partition("\n")[2].encode(),
        ["the first line has numbers where the names"],
    ),
    "Latin-1 in a cell": (PLAIN.replace("6\n", "café\n").encode("latin-1"), ["'CSV UTF-8'"]),
    "Latin-1 in a name": (
        PLAIN.replace("quality", "qualité").encode("latin-1"),
        ["'CSV UTF-8'"],
    ),
    "points between thousands": (
        PLAIN.replace(",8.8,6\n", ",128.933.333.333,6\n").encode(),
        ["column 'alcohol', row 1 of", "received '128.933.333.333'"],
    ),
    "quality in words": (
        PLAIN.replace(",6\n", ",good\n").encode(),
        ["column 'quality'", "received 'good'"],
    ),
    "gzip that is cut": (gzip.compress(PLAIN.encode())[:-20], ["cannot be read"]),
    "no bytes": (b"", ["it is empty"]),
    "zeros": (bytes(1000), ["cannot be read: it is not text"]),
}


@pytest.mark.parametrize("form", REFUSED)
def test_form_that_cannot_be_read_is_refused_in_one_line(form, tmp_path):
    content, parts = REFUSED[form]
    (tmp_path / "wines.csv").write_bytes(content)
    with pytest.raises(UserError) as refused:
        Table(str(tmp_path / "wines.csv"), "data", NEEDED).read()
    for part in ("data: ", "wines.csv", *parts):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_invalid_rows_are_counted(tmp_path):
    text = PLAIN.replace(",8.8,6\n", ",,6\n", 2)
    (tmp_path / "wines.csv").write_text(text)
    with pytest.raises(UserError, match="column 'alcohol', row 1 of .*; 2 of 200 rows are invalid"):
        Table(str(tmp_path / "wines.csv"), "data", NEEDED).read()


def test_few_rows_below_a_header_of_very_many_names_are_not_filled_up(tmp_path):
    """As many cells as there are names for each row would take the memory, and minutes."""
    header, *lines = PLAIN.splitlines()
    names = ",".join(f"x{number}" for number in range(100_000))
    (tmp_path / "wide.csv").write_text("\n".join([f"{header},{names}", *lines]))
    table = Table(str(tmp_path / "wide.csv"), "data", NEEDED)
    batches = list(table.batches())
    assert [len(row.cells) for batch in batches for row in batch.invalid] == [len(NEEDED)] * 200
    with pytest.raises(UserError, match="allowed are 100012 cells; 200 of 200 rows are invalid"):
        table.read()


def test_numbers_that_arrow_does_not_read_by_itself_are_read(tmp_path):
    (tmp_path / "a.csv").write_text('a;b\n+1;1e3\n " 7" ; .5 \n'.replace(' " 7" ', '" 7 "'))
    table = Table(str(tmp_path / "a.csv"), "data", [Column("a"), Column("b")])
    assert table.read().to_numpy().tolist() == [[1.0, 1000.0], [7.0, 0.5]]


def test_row_groups_keep_their_row_numbers(tmp_path):
    values = [str(n) if n % 100 else "dry" for n in range(1, 1001)]
    pq.write_table(pa.table({"a": values}), tmp_path / "a.parquet", row_group_size=150)
    table = Table(str(tmp_path / "a.parquet"), "input", [Column("a")])
    assert table.group_sizes.tolist() == [150] * 6 + [100]
    found = [row.number for batch in table.batches(range(2, 5)) for row in batch.invalid]
    assert found == [400, 500, 600, 700]


def test_training_on_every_form_is_the_same(new_store, run_script):
    (new_store / "plain.csv").write_text(PLAIN)
    expected = run_script("train.py", 0.5, 0.1, "plain.csv").out.split("runs:/")[0]
    for data in ("excel.csv", "wines.txt"):
        (new_store / data).write_bytes(FORMS["Excel in Portuguese"][0])
        done = run_script("train.py", 0.5, 0.1, data)
        assert done.out.split("runs:/")[0].replace(data, "plain.csv") == expected
        assert f"data: {data} is read as: separated by ';', decimal comma\n" in done.err


def test_scored_table_keeps_the_names_and_the_form(score, model_uris, tmp_path):
    header = ["", "", *(f" {name.title()} " for name in COLUMNS)]
    rows = [[str(n), "x;y", *(cell.replace(".", ",") for cell in MEASURED[n])] for n in range(20)]
    lines = [";".join(f'"{cell}"' for cell in row) for row in [header, *rows]]
    (tmp_path / "wines.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    done = score(model_uris["classifier"], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (0, (20, 0)), done.err
    assert "input: wines.csv is read as: separated by ';', decimal comma, names with" in done.err
    scored = pd.read_csv("scored.csv", sep=";", decimal=",", header=None, dtype=str)
    assert scored.iloc[0].fillna("").tolist() == [*header, "prediction", "probability"]
    assert scored.iloc[1:, :-2].to_numpy().tolist() == rows
    (tmp_path / "plain.csv").write_text(
        "\n".join(",".join(row) for row in [COLUMNS, *MEASURED[:20]])
    )
    assert score(model_uris["classifier"], "plain.csv", "expected.csv").status == 0
    expected = np.array([row[-2:] for row in read("expected.csv")[1]], dtype=float)
    found = scored.iloc[1:, -2:].apply(lambda cells: cells.str.replace(",", ".")).astype(float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_names_that_repeat_are_made_different_in_parquet_only(score, model_uris, tmp_path):
    rows = [["1", *MEASURED[0], "2"], ["3", *MEASURED[1], "4"]]
    text = "\n".join(",".join(row) for row in [["x", *COLUMNS, "x"], *rows])
    (tmp_path / "wines.csv").write_text(text)
    assert score(model_uris["main"], "wines.csv", "scored.csv").status == 0
    assert read("scored.csv")[0] == ["x", *COLUMNS, "x", "prediction"]
    assert score(model_uris["main"], "wines.csv", "scored.parquet").status == 0
    scored = pq.read_table("scored.parquet")
    assert scored.column_names == ["x", *COLUMNS, "x.1", "prediction"]
    assert (scored["x"].to_pylist(), scored["x.1"].to_pylist()) == (["1", "3"], ["2", "4"])


def test_predictions_do_not_depend_on_the_order_and_the_form_of_the_columns(
    score, model_uris, tmp_path
):
    """The names of the columns in a random order, folded, between columns that nobody needs."""
    draw = random.Random(0)
    order = draw.sample(range(11), 11)
    header = [COLUMNS[n].upper().replace(" ", draw.choice("_.- ")) for n in order]
    rows = [["", *(MEASURED[row][n] for n in order), ""] for row in range(50)]
    text = "\n".join("\t".join(row) for row in [["", *header, ""], *rows])
    (tmp_path / "wines.tsv").write_text(text)
    assert score(model_uris["huber"], "wines.tsv", "scored.csv").status == 0
    found = pd.read_csv("scored.csv", sep="\t")["prediction"]
    table = dataset.load(dataset.DATA)[dataset.FEATURES].head(50)
    table.to_csv("plain.csv", index=False)
    assert score(model_uris["huber"], "plain.csv", "expected.csv").status == 0
    expected = pd.read_csv("expected.csv")["prediction"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
