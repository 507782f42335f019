"""Tables in the forms in which people have them: what is read, and what is refused and why."""

import contextlib
import csv
import gc
import gzip
import http.server
import io
import lzma
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import fs, parquet

from helpers import PROJECT
from wine import UserError, tables
from wine.tables import Column, Table

WINES = pd.read_csv(PROJECT / "wine-quality.csv").head(200)
NEEDED = [Column(name) for name in WINES.columns]
PLAIN = WINES.to_csv(index=False)
HEADER, ONE, *_ = LINES = PLAIN.splitlines()
EXCEL = WINES.to_csv(sep=";", decimal=",", index=False)
TAR = b"".join(tarfile.TarInfo(name).tobuf() for name in "ab") + bytes(1024)
FOLDED = "names without regard to case, blanks, '_', '.' and '-'"


def renamed(change):
    return WINES.rename(columns=change).to_csv(index=False)


def with_alcohol(*texts):
    alcohol = [*texts, *WINES["alcohol"].astype(str)[len(texts) :]]
    return WINES.assign(alcohol=alcohol).to_csv(index=False)


def zipped(name):
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr(name, PLAIN)
    return file.getvalue()


def refuse(path, content, columns=NEEDED):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with contextlib.chdir(path.parent), pytest.raises(UserError) as refused:
        Table(path.name, "data", columns).read()
    assert "\n" not in str(refused.value)
    return str(refused.value)


FORMS = {
    "plain": (PLAIN, ""),
    "R": (PLAIN.replace(" ", "."), FOLDED),
    "quotes": (WINES.to_csv(sep=";", index=False, quoting=1), "separated by ';'"),
    "tabs": (WINES.to_csv(sep="\t", index=False), "separated by tabs"),
    "bars": (WINES.to_csv(sep="|", index=False), "separated by '|'"),
    "Excel": ("\ufeff" + EXCEL.replace("\n", "\r\n"), "separated by ';', decimal comma"),
    "sep=": ("sep=;\r\n" + EXCEL, "separated by ';', decimal comma"),
    "UTF-16": (EXCEL.encode("utf-16"), "UTF-16, separated by ';', decimal comma"),
    "UTF-16, high byte first": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), "UTF-16"),
    "carriage returns": (PLAIN.replace("\n", "\r"), ""),
    "blank lines first": ("\ufeff\n\r\n" + PLAIN, ""),
    "pandas' index twice": (",," + "\n0,0,".join(LINES), ""),
    "line end in a name": ('"a\nb",' + "\n1,".join(LINES), ""),
    "capitals and blanks": (renamed(lambda name: f" {name.title()} "), FOLDED),
    "invisible signs": (renamed({"pH": "\u200bpH\xa0", "citric acid": "citric\u2011acid"}), FOLDED),
    "signs around numbers": (with_alcohol("\xa08.8\u200b", " 9.5 ", "+1.01e+1"), ""),
    "gzip": (gzip.compress(PLAIN.encode()), ""),
    "Zstandard": (pa.compress(PLAIN.encode(), codec="zstd", asbytes=True), ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_wines(form, tmp_path):
    content, said = FORMS[form]
    (tmp_path / "wines").write_bytes(content if isinstance(content, bytes) else content.encode())
    table = Table(str(tmp_path / "wines"), "data", NEEDED)
    assert table.describe() == said
    pd.testing.assert_frame_equal(table.read(), WINES.astype(float))
    batches = [*table.batches()]
    X = pd.concat([batch.X for batch in batches], ignore_index=True)
    pd.testing.assert_frame_equal(X, WINES.astype(float))
    assert all(batch.cells.num_columns == len(table.schema) for batch in batches)
    assert sum(batch.percent for batch in batches) == 100


PROOFS = {
    "a;b\n0,5;1\n1.234;2\n7;3": 2,  # A point: 0,5 is no number then.
    "a;b\n1,234;5\n7;3": 1,  # A comma that may separate thousands.
    "a;b\n1,234;5\n1234,567;3": 2,
    "a;b\n-,5;5\n+2,5e3;3": 2,
    "a;b\n1.234,5;1\n2,5;1": 0,  # Points that separate thousands.
    'a,b\n"0,5",1\n7,3': 1,  # No decimal comma where commas separate the cells.
    "a\tb\n\u22120,5\t\xa07": 1,  # Unicode's minus
}


@pytest.mark.parametrize("text", PROOFS)
def test_decimal_comma_has_to_be_proved(text, tmp_path):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    table = Table(str(tmp_path / "a.csv"), "input", [Column("a"), Column("b")])
    assert sum(len(batch.X) for batch in table.batches()) == PROOFS[text]


BLANKS = "\n".join(line.replace(" ", "_").replace(",", "   ") for line in LINES)
OTHER_FILES = {
    "it is an archive of red.csv, allowed are CSV and Parquet: unpack it": zipped("red.csv"),
    "it is an archive of a, b, allowed are": TAR,
    "is an archive of a, b, allowed are": lzma.compress(TAR),
    "an archive of a, b, allowed are": gzip.compress(TAR),
    "it is an archive, allowed": lzma.compress(PLAIN.encode()),
    "it is a workbook, allowed are CSV and Parquet: save its sheet": zipped("xl/a.xml")[:99],
    "is a workbook, allowed are CSV and Parquet: save": b"\xd0\xcf\x11\xe0" + bytes(600),
    "it is a web page, allowed are CSV and Parquet: take": "\n<!DOCTYPE html>\n<html>",
    "it is a pointer of Git LFS": "version https://git-lfs.github.com/spec/v1\n",
    "it is JSON": WINES.to_json(orient="records"),
    "it is an ARFF file": "% a\n%% b\n\n@RELATION wine\n",
    "it is a pickle": b"\x80\x04\x95",
    "it is a Feather file": b"ARROW1",
    "it is not text": bytes(1000),
    "it is empty": "\n\r\n",
    "it is separated by blanks, allowed are CSV and Parquet: put commas there": BLANKS,
    "its header is line 3: remove the lines above it": "# wines\n\n" + PLAIN,
    "it is without a header, allowed are CSV and Parquet: add names": PLAIN[len(HEADER) + 1 :],
    "it is without a header, allowed": EXCEL.split("\n", 1)[1],
    "some text is not UTF-8; save the file as 'CSV UTF-8'": with_alcohol("é").encode("latin-1"),
    "UTF-8; save the file as 'CSV UTF-8'": PLAIN.replace("pH", "é").encode("latin-1"),
    "not UTF-8; save the file": PLAIN.replace("\n", ",1\n")
    .replace(",1", ",é", 1)
    .encode("latin-1"),
    "Truncated": gzip.compress(PLAIN.encode())[:-20],
    "Parquet magic bytes not found": b"PAR1" + bytes(50),
    "behind row 1, a row has more than 1 MB": f'{HEADER}\n{ONE}\n"' + f"{ONE}\n" * 90_000,
}


@pytest.mark.parametrize("reason", OTHER_FILES)
def test_what_is_no_table_says_what_it_is(reason, tmp_path):
    line = refuse(tmp_path / "wines.csv", OTHER_FILES[reason])
    assert line.startswith("data: wines.csv cannot be read: ")
    assert reason in line
    assert ("CSV UTF-8" in line) is ("workbook" in line or "UTF-8" in reason)


def test_columns_that_are_not_there_once_are_named(tmp_path):
    path = tmp_path / "wines.csv"
    line = refuse(path, PLAIN.replace("pH", "\u200bp H").replace("alcohol", "density"))
    assert line.startswith("data: column 'density' stands there more than once, column 'pH' is mis")
    assert ", \\u200bp H, " in line
    assert "'pH' stands there more than once" in refuse(
        path, renamed({"pH": "PH", "density": "ph"})
    )
    numbers = [Column("900"), Column("910")]
    assert refuse(path, "900,905\n1,2\n", numbers).startswith("data: column '910' is missing in ")
    assert "'a b' stands" in refuse(path, "A b,c\n1,2\n", [Column("a b"), Column("a_b")])


CELLS = {
    "strong": "allowed is a finite number; a column of texts belongs in CATEGORIES",
    "0.045 g/l": "allowed is a finite number, and this is a number with a unit",
    "8.8%": "and this is a percentage",
    "1,170.0": "and this is a number whose thousands are separated",
    "2016-07-02": "and this is a date",
    "24-28": "and this is a range",
    "0,5": "and this is a number with a decimal comma",
    "1e39": "allowed is a finite number, and this is too large",
    "?": "a finite number; MISSING = ['?'] in wine/dataset.py keeps these rows; this leaves out",
}


@pytest.mark.parametrize("cell", CELLS)
def test_cell_that_is_no_number_says_what_it_is(cell, tmp_path):
    line = refuse(tmp_path / "wines.csv", with_alcohol("9", "9", cell))
    assert line.startswith(f"data: row 3 of wines.csv: column 'alcohol': received '{cell}', allow")
    assert CELLS[cell] in line
    assert ("CATEGORIES" in line, "MISSING" in line) == (cell == "strong", cell == "?")


def test_all_columns_at_fault_are_said_at_once(tmp_path):
    table = WINES.astype(object)
    table.loc[7, "pH"], table.loc[[4, 8], "alcohol"], table.loc[9, "quality"] = "", "", "good"
    assert refuse(tmp_path / "wines.csv", table.to_csv(index=False) + "1,2\n").startswith(
        "data: row 5 of wines.csv: column 'alcohol': received '', allowed is a finite number (in 2 "
        "rows); row 8: column 'pH': received '', allowed is a finite number; row 10: column "
        "'quality': received 'good', allowed is a finite number; row 201: received '1,2', allowed "
        "are 12 cells; 5 of 201 rows are invalid; a column of texts belongs in CATEGORIES"
    )
    line = refuse(tmp_path / "wines.csv", "\n".join([HEADER, *[",".join("x" * 12)] * 9]))
    assert " a finite number (in 9 rows); and 7 more columns; 9 of 9 rows are invalid" in line


@pytest.mark.skipif(os.name == "nt", reason="a shell's quotes")
@pytest.mark.parametrize("form", ["b' $c", "sep=", "a.gz"])
def test_command_that_leaves_rows_out_works(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    text = with_alcohol("", " ", "NA")
    content = {
        "sep=": ("sep=;\n" + text.replace(",", ";").replace(".", ",")).encode("utf-16"),
        "a.gz": gzip.compress(text.encode()),
    }
    line = refuse(tmp_path / form, content.get(form, text.encode()))
    assert "MISSING = ['', 'NA'] in wine/dataset.py keeps these rows; " in line
    subprocess.run(["bash", "-c", re.search('python -c ".*"$', line)[0]], check=True)
    assert len(Table("complete.csv", "data", NEEDED).read()) == 197


def test_missing_values_only_where_they_are_declared(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n,x\nNA, \n7,nan\nnan,x\n")
    columns = [Column("a", missing=("", "NA")), Column("b", is_text=True, missing=("", "NA"))]
    batch, _ = Table(str(tmp_path / "a.csv"), "input", columns).batches()
    assert str(batch.X.to_numpy().tolist()) == "[[nan, 'x'], [nan, nan], [7.0, 'nan']]"
    reason = "column 'a': received 'nan', allowed is a finite number or '' or 'NA'"
    assert batch.invalid == [(4, reason, ["nan", "x"])]


KINDS = {
    "whole numbers": (pa.array([3, 2**53 - 1, 2**53, None]), [1, 2]),
    "floats": (pa.array([3.5, float("nan"), float("inf"), 1e39], pa.float32()), [1]),
    "texts": (pa.array(["3", "\xa03 ", "dry", None]), [1, 2]),
    "views": (pa.array(["3", "1e3", "1e31", "1_0"], pa.string_view()), [1, 2]),
    "dictionary": (pa.array(["3", "3", "x", "x"]).dictionary_encode(), [1, 2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_parquet(kind, tmp_path):
    values, valid = KINDS[kind]
    extra = pa.array([["a"]] * 4)
    parquet.write_table(pa.table({"x": values, "list": extra, "n": [1, 2, 3, 4]}), tmp_path / "a")
    batches = [*Table(str(tmp_path / "a"), "input", [Column("x")]).batches()]
    assert [n for batch in batches for n in batch.cells["n"].to_pylist()] == valid
    assert sorted(valid + [row[0] for batch in batches for row in batch.invalid]) == [1, 2, 3, 4]
    with pytest.raises(UserError, match="input: column 'list' has the type list.* in .*; received"):
        Table(str(tmp_path / "a"), "input", [Column("list")])


PIECES = ["a", "é", " ", '"', ",", "\n", "\r\n", "\r", ";", "'", "\\", "\t", "0", "x" * 40, "🍷"]
NO_NUMBERS = ["", "nan", "inf", "1,5", "1e400", "1_0", "0x1", '"', "3\n4", "-", "1e31", "٣", "1d"]


@pytest.mark.parametrize("seed", range(4))
def test_generated_tables_are_what_the_csv_module_reads(seed, tmp_path, monkeypatch):
    draw, path = random.Random(seed), tmp_path / "a.csv"
    for _ in range(50):
        rows = []
        for _ in range(draw.choice([0, 1, 5, 100, 300])):
            number = draw.choice(["7", " .5", "-1.e3 ", *NO_NUMBERS[: draw.randrange(20)]])
            more = ["1", "more"][: draw.choice([1] * 9 + [0, 2])]
            rows.append(["".join(draw.choices(PIECES, k=draw.randrange(6))), number, *more])
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=draw.choice(["\n", "\r\n"]), quoting=csv.QUOTE_ALL)
        writer.writerows([["note", "x\n1", "y"], *rows])
        path.write_bytes(text.getvalue().encode(draw.choice(["utf-8-sig", "utf-8", "utf-16"])))
        monkeypatch.setattr(tables, "BLOCK_SIZE", draw.choice([256, 257, 300, 512, 1000, 2**20]))
        batches = [*Table(str(path), "input", [Column("X 1"), Column("y")]).batches()]
        valid, invalid = [], []
        for n, row in enumerate(rows, 1):
            is_valid = len(row) == 3 and row[1] not in NO_NUMBERS
            valid += [row] if is_valid else []
            invalid += [] if is_valid else [(n, row[:3])]
        assert [[*row.values()] for batch in batches for row in batch.cells.to_pylist()] == valid
        assert [row[::2] for batch in batches for row in batch.invalid] == invalid


def test_few_rows_below_a_header_of_very_many_names(tmp_path):
    names, cells = ",".join(f"x{number}" for number in range(100_000)), ",1" * 100_000
    table = f"{HEADER},{names}\n{ONE}{cells}\n{ONE}{cells}\n{ONE}"
    assert "row 3 of wines.csv: received '" in refuse(tmp_path / "wines.csv", table)


def test_place_that_holds_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tables.locate("wine-quality.csv") == str(PROJECT / "wine-quality.csv")
    (tmp_path / "wine-quality.csv").touch()
    assert tables.locate("wine-quality.csv") == str(tmp_path / "wine-quality.csv")
    path = str(pathlib.PureWindowsPath("C:/wines/a.csv"))
    assert tables.filesystem(path) == (fs.LocalFileSystem(), path)
    places = {"": "which is a folder", "none.csv": f"no such file in {tmp_path} or {PROJECT}"}
    if os.name != "nt":
        os.symlink("loop", "loop")
        places |= {"loop": "no such file", "/dev/null": "which is no file"}
    for data, wrong in places.items():
        with pytest.raises(UserError, match=re.escape(f"data: received {data!r}, {wrong}")):
            Table(data, "data", NEEDED)


class Server(http.server.BaseHTTPRequestHandler):
    """Send the wines, or a half of them as if the connection broke."""

    def do_GET(self):
        self.send_response(404 if "none" in self.path else 200)
        self.send_header("Content-Length", str(len(PLAIN)))
        self.end_headers()
        self.wfile.write("\n".join(LINES[: 100 if "cut" in self.path else 201]).encode() + b"\n")


def test_table_of_a_web_server(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tables, "DOWNLOAD_TIMEOUT", 0.5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        assert len(Table(address, "data", NEEDED).read()) == 200
        gc.collect()
        assert not [*tmp_path.iterdir()]
        for place, reason in {"cut": "got only .* out of .* bytes", "none": "404"}.items():
            with pytest.raises(UserError, match=f"{address}{place} cannot be read: .*{reason}"):
                Table(address + place, "data", NEEDED)
        server.shutdown()
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(UserError, match=r"^data: .* cannot be read: .*timed out"):
        Table(f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv", "data", NEEDED)
