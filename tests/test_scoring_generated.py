"""Generated tables: what is scored and rejected is what Python's own csv module reads."""

import csv
import gzip
import io
import math
import random
import re
import sys

import pytest

from helpers import tracking_in
from tables import COLUMNS, MEASURED, read
from wine import UserError, delimited, rows
from wine.loading import load
from wine.scoring import engine

pytestmark = pytest.mark.slow

TABLES = 2_000
BLOCK_SIZES = [256, 257, 300, 512, 1000, 2**14, 2**20]
PIECES = ["a", "é", " ", '"', ",", "\n", "\r\n", "\r", ";", "'", "\\", "\t", "0", "x" * 40, "🍷"]
INVALID = ["", "dry", "nan", "inf", "1,5", "1e400", "1_0", "0x1", '"', "3\n4", "-", "1e31"]


def generated_table(draw):
    """Return the bytes of a table, and its header and rows as they should be read."""
    end = draw.choice(["\n", "\r\n"])
    extras = [f"note {n}" + draw.choice(["", ",", '"', "\n"]) for n in range(draw.randrange(3))]
    header = [*extras, *COLUMNS]
    draw.shuffle(header)
    wanted = []
    for _ in range(draw.choice([0, 1, 2, 5, 30, 100])):
        wine = dict(zip(COLUMNS, draw.choice(MEASURED), strict=True))
        cells = [
            wine.get(name, "".join(draw.choices(PIECES, k=draw.randrange(6)))) for name in header
        ]
        chance = draw.random()
        if chance < 0.05:
            cells = cells[: draw.randrange(2, len(cells))]
        elif chance < 0.1:
            cells = [*cells, "more"]
        elif chance < 0.2:
            cells[draw.randrange(len(cells))] = draw.choice(INVALID)
        wanted.append(cells)
    quoting = draw.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    for cells in [header, *wanted]:
        # Python 3.11 does not quote a lone CR by itself.
        alone = any("\r" in cell for cell in cells) and quoting == csv.QUOTE_MINIMAL
        (csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL) if alone else writer).writerow(
            cells
        )
        if draw.random() < 0.03 and cells is not header:
            text.write(end)  # a line without anything
    text = text.getvalue()
    if draw.random() < 0.3:
        text = text[: -len(end)]
    return b"\xef\xbb\xbf" * (draw.random() < 0.3) + text.encode(), header, wanted


def is_valid(cells, header):
    if len(cells) != len(header):
        return False
    measured = [cells[header.index(name)].strip(" \t") for name in COLUMNS]
    return all(re.fullmatch(rows.NUMBER, cell) for cell in measured) and all(
        math.isfinite(float(cell)) and abs(float(cell)) <= 1e30 for cell in measured
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_generated_tables_are_scored_as_the_csv_module_reads_them(
    seed, project, model_uris, tmp_path, monkeypatch, capsys
):
    csv.field_size_limit(sys.maxsize)
    draw, refused = random.Random(seed), 0
    with tracking_in(project):
        model = load(model_uris["main"])
    for number in range(TABLES // 4):
        content, header, wanted = generated_table(draw)
        monkeypatch.setattr(delimited, "BLOCK_SIZE", draw.choice(BLOCK_SIZES))
        name = draw.choice(["wines.csv", "wines.csv.gz"])
        path, output = tmp_path / name, str(tmp_path / "scored.csv")
        path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
        text = content.decode("utf-8-sig")
        assert [each for each in csv.reader(io.StringIO(text, newline="")) if each] == [
            header,
            *wanted,
        ]
        try:
            table = engine.open_table(str(path), model)
            counts = engine.score_file(table, model, output, overwrite=True)
        except UserError as error:
            if "a row has more than" not in str(error):
                raise
            refused += 1
            continue
        where = f"seed {seed}, table {number}"
        valid = [cells for cells in wanted if is_valid(cells, header)]
        assert counts.scored == len(valid), where
        assert counts.scored + counts.rejected == len(wanted), where
        found, scored = read(output)
        assert found == [*header, "prediction"], where
        assert [row[:-1] for row in scored] == valid, where
        invalid = [(n, each) for n, each in enumerate(wanted, 1) if not is_valid(each, header)]
        if invalid:
            found, rejected = read(f"{output}.rejected.csv")
            assert found == ["row", "reason", *header], where
            assert [int(row[0]) for row in rejected] == [n for n, _ in invalid], where
            for (_, cells), row in zip(invalid, rejected, strict=True):
                filled = (cells + [""] * len(header))[: len(header)]
                assert row[2:] == filled, where
    assert refused < TABLES / 4 / 2
