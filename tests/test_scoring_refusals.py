"""A scoring that cannot be done is refused in one line, and leaves nothing."""

import gzip
import io
import os
import shutil

import pandas as pd
import pytest

from helpers import (
    assert_one_line_error,
    runs_of,
)
from tables import (
    COLUMNS,
    MEASURED,
    read,
    write,
)


def assert_refused(result, store, before, *parts):
    """Assert that a scoring ended with one line that has all parts, and left nothing."""
    assert_one_line_error(result, *parts)
    assert (sorted(os.listdir()), len(runs_of(store))) == before


def without(column):
    """Return the text of a table that lacks a column."""
    at = COLUMNS.index(column)
    rows = [COLUMNS, *MEASURED[:3]]
    return "\n".join(",".join([*row[:at], *row[at + 1 :]]) for row in rows)


TEXT = "\n".join(",".join(row) for row in [COLUMNS, *MEASURED[:3]]) + "\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["wines.csv"]),
        (b"\n\n", ["wines.csv"]),
        (without("pH").encode(), ["column 'pH' is missing"]),
        (without("alcohol").encode(), ["column 'alcohol' is missing"]),
        (
            TEXT.replace("pH", "PH").replace("density", "ph").encode(),
            ["column 'density' is missing"],
        ),
        (
            TEXT.replace("pH", "PH").replace("\n", ",1\n").replace(",1", ",ph", 1).encode(),
            ["column 'pH' is missing, and 'PH' or 'ph' may be it"],
        ),
        (TEXT.replace("pH", "density").encode(), ["'density'", "more than once"]),
        (TEXT.replace("\n", ",x\n").encode().replace(b",x", b",pH", 1), ["'pH'", "more than once"]),
        (TEXT.replace("\n", ",prediction\n", 1).encode(), ["'prediction'"]),
        (TEXT.partition("\n")[2].encode(), ["the first line has numbers where the names"]),
        (TEXT.replace("\n", ",café\n").encode("latin-1"), ["wines.csv", "utf-8"]),
        ((TEXT + TEXT.replace("pH", "café") * 20).encode("latin-1"), ["wines.csv", "utf-8"]),
        (bytes(range(256)) * 9, ["wines.csv"]),
    ],
)
def test_table_that_cannot_be_scored_is_refused(content, parts, score, model_uris, store):
    with open("wines.csv", "wb") as file:
        file.write(content)
    result = score(model_uris["main"], "wines.csv", "scored.csv")
    assert_refused(result, store, (["wines.csv"], len(runs_of(store))), "input: ", *parts)


def test_file_that_goes_bad_later_is_refused(score, model_uris, store, large):
    text = large.read_bytes()[:8_000_000]
    with open("wines.csv.gz", "wb") as file:
        file.write(gzip.compress(text, 1)[:-5000])
    with open("latin.csv", "wb") as file:
        file.write(text + b"\ncaf\xe9" + b",1" * 10 + b"\n")
    with open("wines.parquet", "wb") as file:
        sound = io.BytesIO()
        pd.read_csv(large, nrows=9000).to_parquet(sound)
        file.write(sound.getvalue()[:-500])
    before = sorted(os.listdir())
    for name in ("wines.csv.gz", "latin.csv", "wines.parquet"):
        result = score(model_uris["main"], name, "scored.csv")
        assert result.status == 1
        assert "score.py: input: " in result.err.splitlines()[-1], result.err
        assert name in result.err
        assert "Traceback" not in result.err
        assert sorted(os.listdir()) == before
        assert result.out == ""
    assert runs_of(store)[0].info.status != "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["MODEL", "none.csv", "scored.csv"], ["input: received 'none.csv'", "no such file"]),
        (["MODEL", "no/wines.csv", "scored.csv"], ["input: received 'no/wines.csv'"]),
        (["MODEL", "wines.csv", "no/scored.csv"], ["output: ", "no/scored.csv"]),
        (["MODEL", "wines.csv", "wines.csv"], ["output: "]),
        (["MODEL", "wines.csv", "scored.xlsx"], ["output: ", "'scored.xlsx'", ".parquet"]),
        (["MODEL", "https://127.0.0.1:9/x", "scored.csv"], ["input: https://", "cannot be read"]),
        (["MODEL", "abc://wines.csv", "scored.csv"], ["input: abc://wines.csv cannot be read"]),
        (["MODEL", "wines.csv", "old.csv"], ["output: ", "old.csv", "overwrite=true"]),
        (["MODEL", "wines.csv", "old.csv", "yes"], ["overwrite", "'yes'", "true"]),
        (["MODEL", "wines.csv", "folder.csv", "true"], ["output: ", "folder.csv"]),
        (["MODEL", "folder.csv", "scored.csv"], ["input: ", "folder.csv"]),
        (["MODEL", "wines.csv", "scored.csv", "false", "dask"], ["engine", "'dask'", "spark"]),
        (["runs:/0/model", "wines.csv", "scored.csv"], ["model: ", "'runs:/0/model'"]),
        (["models:/none/1", "wines.csv", "scored.csv"], ["model: ", "'models:/none/1'"]),
        (["models:/none@x", "wines.csv", "scored.csv"], ["model: ", "'models:/none@x'"]),
        (["models:/m-0", "wines.csv", "scored.csv"], ["model: ", "'models:/m-0'"]),
        (["no/model", "wines.csv", "scored.csv"], ["model: ", "'no/model'"]),
        (["folder.csv", "wines.csv", "scored.csv"], ["model: ", "'folder.csv'"]),
        (["MODEL", "wines.csv", "scored.csv", "--overwrit", "true"], ["did you mean overwrite?"]),
        (["MODEL", "wines.csv"], ["output"]),
    ],
)
def test_wrong_argument_is_refused(arguments, parts, score, model_uris, store):
    write("wines.csv", MEASURED[:3])
    shutil.copy("wines.csv", "old.csv")
    os.mkdir("folder.csv")
    before = sorted(os.listdir()), len(runs_of(store))
    result = score(*[model_uris["main"] if word == "MODEL" else word for word in arguments])
    assert_refused(result, store, before, *parts)
    assert read("old.csv") == (COLUMNS, MEASURED[:3])


def test_overwrite_replaces_the_output(score, model_uris):
    write("wines.csv", MEASURED[:3])
    write("scored.csv", [])
    assert score(model_uris["main"], "wines.csv", "scored.csv", "true").status == 0
    assert len(read("scored.csv")[1]) == 3
