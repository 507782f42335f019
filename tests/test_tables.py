"""Tables in the forms in which people have them: what is read, and what is refused and why."""

import contextlib
import csv
import gc
import gzip
import http.server
import io
import lzma
import os
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
with zipfile.ZipFile(ZIP := io.BytesIO(), "w") as archive:
    archive.writestr("red.csv", PLAIN)
TAR = b"".join(tarfile.TarInfo(name).tobuf() for name in "ab") + bytes(1024)
FOLDED = "names without regard to case, blanks, '_', '.' and '-'"


def renamed(change):
    return WINES.rename(columns=change).to_csv(index=False)


def with_alcohol(*texts):
    alcohol = [*texts, *WINES["alcohol"].astype(str)[len(texts) :]]
    return WINES.assign(alcohol=alcohol).to_csv(index=False)


def refuse(path, content, columns=NEEDED):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with contextlib.chdir(path.parent), pytest.raises(UserError) as refused:
        Table(path.name, "data", columns).read()
    assert "\n" not in str(refused.value)
    return str(refused.value)


FORMS = {
    "plain": (PLAIN, ""),
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
    "R": (renamed(lambda name: f" {name.title().replace(' ', '.')} "), FOLDED),
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
    batches = [*table.batches()]
    for X in (table.read(), pd.concat([batch.X for batch in batches], ignore_index=True)):
        pd.testing.assert_frame_equal(X, WINES.astype(float))
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
    "it is an archive of red.csv, allowed are CSV and Parquet: unpack it": ZIP.getvalue(),
    "it is an archive of a, b, allowed are": TAR,
    "is an archive of a, b, allowed are": lzma.compress(TAR),
    "an archive of a, b, allowed are": gzip.compress(TAR),
    "it is an archive, allowed": lzma.compress(PLAIN.encode()),
    "is an archive, allowed": b"\xfd7zXZ" + bytes(30),
    "a workbook, allowed are CSV and Parquet: save its": b"PK\x03\x04" + bytes(26) + b"xl/a.xml",
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
    "UTF-8; save the file as 'CSV UTF-8'": PLAIN.replace("pH", "pH,é").encode("latin-1"),
    "Truncated": gzip.compress(PLAIN.encode())[:-20],
    "Parquet magic bytes not found": b"PAR1" + bytes(50),
    "behind row 1, a row has over 1 MB": f'{HEADER}\n{ONE}\n"' + f"{ONE}\n" * 90_000,
}


@pytest.mark.parametrize("reason", OTHER_FILES)
def test_what_is_no_table_says_what_it_is(reason, tmp_path):
    line = refuse(tmp_path / "wines.csv", OTHER_FILES[reason])
    assert re.match(f"data: wines.csv cannot be read: .*{re.escape(reason)}", line)
    assert ("CSV UTF-8" in line) is ("workbook" in line or "UTF-8" in reason)


def test_columns_that_are_not_there_once_are_named(tmp_path):
    path = tmp_path / "wines.csv"
    line = refuse(path, PLAIN.replace("pH", "\u200bp H").replace("alcohol", "density"))
    assert line.startswith("data: column 'density' is not the only one of its name, column 'pH' is")
    assert ", \\u200bp H, " in line
    assert "'pH' is not the only one" in refuse(path, renamed({"pH": "PH", "density": "ph"}))
    assert "'910' is missing" in refuse(path, "900,905\n1,2\n", [Column("900"), Column("910")])
    assert "'a b' is not the only one" in refuse(
        path, "A b,c\n1,2\n", [Column("a b"), Column("a_b")]
    )


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
    assert line.startswith(f"data: wines.csv, row 3: column 'alcohol': received '{cell}', allowed")
    assert CELLS[cell] in line
    assert ("CATEGORIES" in line, "MISSING" in line) == (cell == "strong", cell == "?")


def test_all_columns_at_fault_are_said_at_once(tmp_path):
    table = WINES.astype(object)
    table.loc[7, "pH"], table.loc[[4, 8], "alcohol"], table.loc[9, "quality"] = "", "", "good"
    assert refuse(tmp_path / "wines.csv", table.to_csv(index=False) + "1,2\n").startswith(
        "data: wines.csv, row 5: column 'alcohol': received '', allowed is a finite number (in 2 "
        "rows); row 8: column 'pH': received '', allowed is a finite number; row 10: column "
        "'quality': received 'good', allowed is a finite number; row 201: received '1,2', allowed "
        "are 12 cells; a column of texts belongs in CATEGORIES"
    )
    line = refuse(tmp_path / "wines.csv", "\n".join([HEADER, *[",".join("x" * 12)] * 9]))
    assert " a finite number (in 9 rows); and 7 more columns; a column of texts" in line
    names = ",".join(f"x{number}" for number in range(100_000))
    wide = f"sep=,\n{HEADER},{names}\n{ONE}"
    assert re.search(" row 1: .* 100012 cells$", refuse(tmp_path / "wines.csv", wide))


@pytest.mark.skipif(os.name == "nt", reason="a shell's quotes")
@pytest.mark.parametrize("form", ["b' $c", "sep=", "a.gz"])
def test_command_that_leaves_rows_out_works(form, tmp_path):
    text = with_alcohol("", " ", "NA")
    excel = "sep=;\n" + text.replace(",", ";").replace(".", ",")
    content = {"sep=": excel.encode("utf-16"), "a.gz": gzip.compress(text.encode())}
    line = refuse(tmp_path / form, content.get(form, text))
    assert "MISSING = ['', 'NA'] in wine/dataset.py keeps these rows; " in line
    command = f"'{sys.executable}'" + re.search(' -c ".*"$', line)[0]
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert len(Table(str(tmp_path / "complete.csv"), "data", NEEDED).read()) == 197


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
    "texts": (pa.array(["3", "\xa03 ", "1_0", None]), [1, 2]),
    "dictionary": (pa.array(["3", "3", "x", "x"]).dictionary_encode(), [1, 2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_parquet(kind, tmp_path):
    values, valid = KINDS[kind]
    table = {"x": values, "list": [["a"]] * 4, "n": [1, 2, 3, 4], "f": [7.0] * 4, "b": [True] * 4}
    parquet.write_table(pa.table(table), tmp_path / "a")
    batches = [*Table(str(tmp_path / "a"), "input", [Column("x")]).batches()]
    assert [n for batch in batches for n in batch.cells["n"].to_pylist()] == valid
    invalid = [row for batch in batches for row in batch.invalid]
    assert sorted(valid + [row[0] for row in invalid]) == [1, 2, 3, 4]
    assert all(row[2][3:] == ["7", "true"] for row in invalid)  # as CSV shows them
    parquet.write_table(pa.table({"x": values[:0]}), tmp_path / "none")
    assert Table(str(tmp_path / "none"), "input", [Column("x")]).read().shape == (0, 1)
    with pytest.raises(UserError, match="input: column 'list' of .* is list<.*>, not a number"):
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
        is_valid = [len(row) == 3 and row[1] not in NO_NUMBERS for row in rows]
        invalid = [(n + 1, row[:3]) for n, row in enumerate(rows) if not is_valid[n]]
        valid = [row for n, row in enumerate(rows) if is_valid[n]]
        assert [[*row.values()] for batch in batches for row in batch.cells.to_pylist()] == valid
        assert [row[::2] for batch in batches for row in batch.invalid] == invalid


def test_place_that_holds_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tables.locate("wine-quality.csv") == str(PROJECT / "wine-quality.csv")
    (tmp_path / "wine-quality.csv").touch()
    assert tables.locate("wine-quality.csv") == str(tmp_path / "wine-quality.csv")
    address, path = f"https://127.0.0.1/{'x' * 300}", r"C:\wines\a.csv"
    assert tables.locate(address) == address
    assert tables.filesystem(path) == (fs.LocalFileSystem(), path)
    for name in ("none.csv", ""):  # The second is a folder.
        said = f"data: {name} cannot be read: there is no file {name!r} in {tmp_path} or {PROJECT}"
        with pytest.raises(UserError, match=re.escape(said)):
            Table(name, "data", NEEDED)


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if "none" in self.path else 200)
        self.send_header("Content-Length", str(len(PLAIN)))
        self.end_headers()
        # Half of the wines are sent as if the connection broke.
        self.wfile.write("\n".join(LINES[: 100 if "cut" in self.path else 201]).encode() + b"\n")


def test_table_of_a_web_server(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tables, "DOWNLOAD_TIMEOUT", 0.5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        assert len(Table(address, "data", NEEDED).read()) == 200
        gc.collect()  # Arrow's reader and the function that keeps malformed rows know each other.
        assert not [*tmp_path.iterdir()]
        for place, reason in {"cut": "got only .* out of .* bytes", "none": "404"}.items():
            with pytest.raises(UserError, match=f"{address}{place} cannot be read: .*{reason}"):
                Table(address + place, "data", NEEDED)
        server.shutdown()
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(UserError, match=r"^data: .* cannot be read: .*timed out"):
        Table(f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv", "data", NEEDED)
