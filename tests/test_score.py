"""A scoring: the same answers as the model's own, every row accounted for, a whole file or none."""

import contextlib
import csv
import gzip
import io
import os
import pty
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ENTRY_POINTS, LOCAL, PROJECT, command, environment, tracking_in

HEADER, *WHOLE = csv.reader((PROJECT / "wine-quality.csv").read_text().splitlines())
*COLUMNS, _ = HEADER
MEASURED = [cells[:-1] for cells in WHOLE]

NUMBERS = ["7", "+1", ".5", "1.", " 7 ", "1e-3", "1E+2", "-0.5", "007"]
NO_NUMBERS = [
    *("", " ", "nan", "NaN", "NA", "null", "inf", "-inf", "Infinity", "1e999", "-1e999", "1d"),
    *("1f", "0x1A", "1_0", "1,5", "1 0", "1e", "--1", "+", ".", "e5", "true", "dry", "٣", "7%"),
]
TEXTS = [
    *("007", " x ", "1e5", "NA", "nan", "", "true", "2020-01-01", "ação 🍷", "a\tb", "'", "\\"),
    *("1.50", "+3", "None", "12345678901234567890", "0.1000000000000000055", "#", "=1+1"),
]


@pytest.fixture
def score(store, tmp_path, monkeypatch, capfd):
    """Run score.py's `__main__` in an empty folder; return its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["score.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(PROJECT / "score.py"), run_name="__main__")
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        if isinstance(status, str):  # Python prints the text and ends with status 1
            status, err = 1, f"{err}{status}\n"
        return SimpleNamespace(status=status, out=out, err=err)

    with tracking_in(store):
        yield run


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A table of 400,000 wines, as a CSV file of 23 MB."""
    path = tmp_path_factory.mktemp("large") / "wines.csv"
    grow(path, 400_000)
    return path


def grow(path, count):
    """Write a table of `count` wines, the same ones again and again."""
    body = "".join(",".join(cells) + "\n" for cells in MEASURED)
    times, rest = divmod(count, len(MEASURED))
    with open(path, "w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for _ in range(times):
            file.write(body)
        file.writelines(body.splitlines(keepends=True)[:rest])


def write(path, rows, header=COLUMNS):
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def read(path):
    """Return the header and the rows of a CSV file, all cells as text."""
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def counts(out):
    """Return how many rows the last line says were scored and rejected."""
    last = out.splitlines()[-1]
    return tuple(map(int, re.search(r"(\d+) rows scored into .*, (\d+) rejected", last).groups()))


def expected(model, rows):
    """Return what a model answers by itself: predictions and, of a classifier, probabilities."""
    wines = pd.DataFrame(np.array(rows, dtype=float), columns=COLUMNS)
    estimator = model.get_raw_model()
    answers = [model.predict(wines)]
    if hasattr(estimator, "predict_proba"):
        answers.append(estimator.predict_proba(wines)[:, 1])
    return np.column_stack(answers)


def assert_same(scored, answers):
    """Assert that the last cells of the rows are these answers."""
    found = np.array([row[-answers.shape[1] :] for row in scored], dtype=float)
    np.testing.assert_allclose(found, answers, rtol=0, atol=1e-12)


def runs(folder):
    """Return the runs in the store of a folder, the last one first."""
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_runs(["0"])


def script(*arguments, store, cwd, **kwargs):
    """Start score.py in a process group of its own, with its output and errors in a pipe."""
    return subprocess.Popen(
        [sys.executable, str(PROJECT / "score.py"), *map(str, arguments)],
        cwd=cwd,
        env=environment(MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **kwargs,
    )


# Answers


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_answers_are_the_models_own(entry_point, score, uris, models):
    order = [*reversed(COLUMNS)]
    rows = [[f"bottle {n}", *reversed(wine), "white"] for n, wine in enumerate(MEASURED, start=1)]
    write("wines.csv", rows, ["name", *order, "colour"])
    done = score(uris[entry_point], "wines.csv", "scored.csv")
    assert done.status == 0, done.err
    assert counts(done.out) == (4898, 0)
    added = ["prediction", "probability"] if entry_point == "classifier" else ["prediction"]
    header, scored = read("scored.csv")
    assert header == ["name", *order, "colour", *added]
    assert [row[: -len(added)] for row in scored] == rows
    assert_same(scored, expected(models[entry_point], MEASURED))
    assert sorted(os.listdir()) == ["scored.csv", "wines.csv"]


def test_every_address_of_a_model(score, uris, run_ids, store, project):
    client = mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db")
    (output,) = client.get_run(run_ids["main"]).outputs.model_outputs
    client.create_registered_model("wine")
    client.create_model_version("wine", uris["main"], run_ids["main"], model_id=output.model_id)
    client.set_registered_model_alias("wine", "champion", "1")
    path = client.get_logged_model(output.model_id).artifact_location.removeprefix("file://")
    addresses = [
        uris["main"],
        f"models:/{output.model_id}",
        "models:/wine/1",
        "models:/wine@champion",
        path,
        os.path.relpath(path),
        project / "mlruns" / "0" / run_ids["main"] / "artifacts" / "model",
    ]
    texts = set()
    for number, address in enumerate(addresses):
        done = score(address, PROJECT / "predict.csv", f"scored {number}.csv")
        assert done.status == 0, (address, done.err)
        with open(f"scored {number}.csv") as file:
            texts.add(file.read())
        run = client.get_run(runs(store)[0].info.run_id)
        assert [item.model_id for item in run.inputs.model_inputs] == [output.model_id], address
    assert len(texts) == 1


def test_every_kind_of_file_in_and_out(score, uris, models):
    wines = [[*wine, str(n)] for n, wine in enumerate(MEASURED[:50])]
    write("wines.csv", wines, [*COLUMNS, "number"])
    with open("wines.csv", "rb") as plain, gzip.open("wines.csv.gz", "wb") as packed:
        packed.write(plain.read())
    pd.read_csv("wines.csv").to_parquet("wines.parquet")
    answers = expected(models["classifier"], MEASURED[:50])
    for given in ("csv", "csv.gz", "parquet"):
        for made in ("csv", "csv.gz", "parquet"):
            name = f"from {given} to.{made}"
            done = score(uris["classifier"], f"wines.{given}", name)
            assert done.status == 0, (name, done.err)
            if made == "parquet":
                scored = pd.read_parquet(name)
                assert scored["number"].astype(int).tolist() == list(range(50))
                assert [*scored.columns[-2:]] == ["prediction", "probability"]
                assert_same(scored.to_numpy(), answers)
            else:
                _, scored = read(name)
                assert [int(row[-3]) for row in scored] == list(range(50))
                assert_same(scored, answers)


# Rows that cannot be scored


def awkward():
    """Return rows with each text in place of a number, and those of them that are numbers."""
    rows, good = [], []
    for n, text in enumerate([*NUMBERS, *NO_NUMBERS]):
        row = [*MEASURED[n]]
        row[n % len(COLUMNS)] = text
        rows.append(row)
        if text in NUMBERS:
            good.append(n + 1)
    return rows, good


def test_what_is_a_number(score, uris, models):
    rows, good = awkward()
    write("wines.csv", rows)
    done = score(uris["main"], "wines.csv", "scored.csv")
    assert done.status == 3
    assert counts(done.out) == (len(good), len(rows) - len(good))
    _, scored = read("scored.csv")
    assert [row[:-1] for row in scored] == [rows[n - 1] for n in good]
    assert_same(scored, expected(models["main"], [rows[n - 1] for n in good]))
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


def test_rows_as_spreadsheets_and_people_write_them(score, uris, models):
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
            done = score(uris["main"], "wines.csv", "scored.csv", "true")
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
            assert_same(scored, expected(models["main"], MEASURED[:1] * 5))
            _, rejected = read("scored.csv.rejected.csv")
            assert [row[0] for row in rejected] == ["5", "6", "7", "8"]
            assert [row[2] for row in rejected] == ["short", "long", "lonely", "bad, too"]
            assert all("allowed are 12 cells" in row[1] for row in rejected[:3])
            assert f"long,{one},9" in rejected[1][1] or "9" in rejected[1][-1]


def test_long_stretches_of_rows_with_too_few_cells(score, uris):
    stretch = [["too short", f"{n:50}"] for n in range(40_000)]
    write("wines.csv", [*stretch, *MEASURED[:3], *stretch, *MEASURED[3:5], *stretch])
    done = score(uris["main"], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (5, 120_000)), done.err
    assert [row[:-1] for row in read("scored.csv")[1]] == MEASURED[:5]
    _, rejected = read("scored.csv.rejected.csv")
    scored = {40_001, 40_002, 40_003, 80_004, 80_005}
    assert [int(row[0]) for row in rejected] == [n for n in range(1, 120_006) if n not in scored]
    assert [row[3] for row in rejected] == [row[1] for row in stretch] * 3


def test_text_is_kept_character_by_character(score, uris):
    rows = [[text, *MEASURED[n], text] for n, text in enumerate(TEXTS)]
    write("wines.csv", rows, ["a", *COLUMNS, "b c"])
    assert score(uris["main"], "wines.csv", "scored.csv").status == 0
    assert [row[:-1] for row in read("scored.csv")[1]] == rows
    assert score(uris["main"], "wines.csv", "scored.parquet").status == 0
    scored = pq.read_table("scored.parquet").to_pandas(types_mapper=None)
    assert scored["a"].tolist() == TEXTS
    assert scored["b c"].tolist() == TEXTS


def test_one_in_a_hundred_rows_is_bad(score, uris):
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
    assert score(uris["main"], "clean.csv", "clean scored.csv").status == 0
    done = score(uris["main"], "dirty.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (39_600, 400))
    _, answers = read("clean scored.csv")
    _, scored = read("scored.csv")
    _, rejected = read("scored.csv.rejected.csv")
    assert [int(row[0]) for row in rejected] == bad
    assert [row[2] for row in rejected] == [str(number) for number in bad]
    answers = [row for row in answers if int(row[0]) not in bad]
    assert [row[:-1] for row in scored] == [row[:-1] for row in answers]
    assert_same(scored, np.array(answers)[:, -1:].astype(float))


def all_kinds():
    """Return forty rows of many types, of which 4, 5, 6 and 40 are bad."""
    wines = pd.DataFrame(np.array(MEASURED[:40], dtype=float), columns=COLUMNS)
    arrays = {name: pa.array(wines[name]) for name in COLUMNS}
    arrays["fixed acidity"] = pa.array(wines["fixed acidity"], pa.float32())
    arrays["free sulfur dioxide"] = pa.array(wines["free sulfur dioxide"].round(), pa.int32())
    arrays["pH"] = pa.array([*map(str, wines["pH"][:39]), "dry"])
    alcohol = [*wines["alcohol"]]
    alcohol[3:6] = [None, float("nan"), float("inf")]
    arrays["alcohol"] = pa.array(alcohol)
    kept = {
        "name": pa.array([None, *map(str, range(39))]),
        "when": pa.array([datetime(2020, 1, 1)] * 40, pa.timestamp("us")),
        "cask": pa.array(["a", "b"] * 20).dictionary_encode(),
        "notes": pa.array([["dry", "pale"]] * 40),
        "nothing": pa.nulls(40),
        "count": pa.array(range(40), pa.uint8()),
    }
    return pa.table(kept | arrays)


def test_parquet_of_all_kinds(score, uris, models):
    table = all_kinds()
    pq.write_table(table, "wines.parquet", row_group_size=7)
    done = score(uris["main"], "wines.parquet", "scored.parquet")
    assert (done.status, counts(done.out)) == (3, (36, 4)), done.err
    good = [n for n in range(39) if n not in (3, 4, 5)]
    scored = pq.read_table("scored.parquet")
    at = table.column_names.index("pH")  # in Parquet a number is a number
    as_number = table.take(good)
    as_number = as_number.set_column(at, "pH", as_number["pH"].cast("double"))
    assert scored.drop_columns("prediction").equals(as_number)
    assert scored.column_names == [*table.column_names, "prediction"]
    rows = table.select(COLUMNS).take(good).to_pandas().astype(float).to_numpy()
    assert_same(
        scored.select(["prediction"]).to_pandas().to_numpy(), expected(models["main"], rows)
    )
    _, rejected = read("scored.parquet.rejected.csv")
    assert [row[0] for row in rejected] == ["4", "5", "6", "40"]
    assert all("column 'alcohol': received" in row[1] for row in rejected[:3])
    assert "column 'pH': received 'dry'" in rejected[3][1]


def test_no_rows_and_only_bad_rows(score, uris, store):
    write("none.csv", [])
    done = score(uris["classifier"], "none.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (0, (0, 0)), done.err
    assert read("scored.csv") == ([*COLUMNS, "prediction", "probability"], [])
    write("bad.csv", [[""] * 11] * 5)
    done = score(uris["classifier"], "bad.csv", "scored.parquet")
    assert (done.status, counts(done.out)) == (3, (0, 5)), done.err
    assert pd.read_parquet("scored.parquet").columns.tolist() == read("scored.csv")[0]
    assert runs(store)[0].data.metrics["rejected_rows"] == 5


def test_rejects_of_an_earlier_scoring_do_not_stay(score, uris):
    write("wines.csv", [MEASURED[0], ["dry"] * 11])
    assert score(uris["main"], "wines.csv", "scored.csv").status == 3
    write("wines.csv", MEASURED[:3])
    assert score(uris["main"], "wines.csv", "scored.csv", "true").status == 0
    assert sorted(os.listdir()) == ["scored.csv", "wines.csv"]


# Refusals


def refused(result, store, before, *parts):
    """Assert that a scoring ended with one line that has all parts, and left nothing."""
    assert result.status in (1, 2), result
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    for part in parts:
        assert part in result.err
    assert (sorted(os.listdir()), len(runs(store))) == before


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
        (TEXT.replace("pH", "PH").encode(), ["column 'pH' is missing", "PH"]),
        (TEXT.replace("pH", "density").encode(), ["'density'", "more than once"]),
        (TEXT.replace("\n", ",x\n").encode().replace(b",x", b",pH", 1), ["'pH'", "more than once"]),
        (TEXT.replace("\n", ",x,x\n").encode(), ["'x'", "more than once"]),
        (TEXT.replace("\n", ",prediction\n", 1).encode(), ["'prediction'"]),
        (TEXT.replace(",", ";").encode(), ["';'"]),
        (TEXT.replace("\n", ",café\n").encode("latin-1"), ["wines.csv", "utf-8"]),
        ((TEXT + TEXT.replace("pH", "café") * 20).encode("latin-1"), ["wines.csv", "utf-8"]),
        (TEXT.encode("utf-16"), ["wines.csv"]),
        (bytes(range(256)) * 9, ["wines.csv"]),
    ],
)
def test_table(content, parts, score, uris, store):
    with open("wines.csv", "wb") as file:
        file.write(content)
    result = score(uris["main"], "wines.csv", "scored.csv")
    refused(result, store, (["wines.csv"], len(runs(store))), "input: ", *parts)


def test_file_that_goes_bad_later(score, uris, store, large):
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
        result = score(uris["main"], name, "scored.csv")
        assert result.status == 1
        assert "score.py: input: " in result.err.splitlines()[-1], result.err
        assert name in result.err
        assert "Traceback" not in result.err
        assert sorted(os.listdir()) == before
        assert result.out == ""
    assert runs(store)[0].info.status != "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["MODEL", "none.csv", "scored.csv"], ["input: received 'none.csv'", "no such file"]),
        (["MODEL", "no/wines.csv", "scored.csv"], ["input: received 'no/wines.csv'"]),
        (["MODEL", "wines.csv", "no/scored.csv"], ["output: ", "no/scored.csv"]),
        (["MODEL", "wines.csv", "wines.csv"], ["output: "]),
        (["MODEL", "wines.csv", "scored.xlsx"], ["output: ", "'scored.xlsx'", ".parquet"]),
        (["MODEL", "wines.txt", "scored.csv"], ["input: ", "'wines.txt'", ".parquet"]),
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
def test_arguments(arguments, parts, score, uris, store):
    write("wines.csv", MEASURED[:3])
    for name in ("wines.txt", "old.csv"):
        shutil.copy("wines.csv", name)
    os.mkdir("folder.csv")
    before = sorted(os.listdir()), len(runs(store))
    result = score(*[uris["main"] if word == "MODEL" else word for word in arguments])
    refused(result, store, before, *parts)
    assert read("old.csv") == (COLUMNS, MEASURED[:3])


def test_overwrite(score, uris):
    write("wines.csv", MEASURED[:3])
    write("scored.csv", [])
    assert score(uris["main"], "wines.csv", "scored.csv", "true").status == 0
    assert len(read("scored.csv")[1]) == 3


# What a run leaves


def test_record(score, uris, store, run_ids, tmp_path):
    write("wines.csv", [*MEASURED[:500], ["dry"] * 11])
    assert score(uris["classifier"], "wines.csv", "scored.csv").status == 3
    client = mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db")
    run = client.get_run(runs(store)[0].info.run_id)
    assert run.info.status == "FINISHED"
    given = {"model": uris["classifier"], "input": "wines.csv", "output": "scored.csv"}
    assert given.items() <= run.data.params.items()
    assert run.data.metrics["rows"] == 501
    assert run.data.metrics["rejected_rows"] == 1
    assert run.data.metrics["rows_per_second"] > 0
    recorded = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(recorded) == {"input", "output"}
    assert f"{tmp_path}/wines.csv" in recorded["input"].source
    assert f"{tmp_path}/scored.csv" in recorded["output"].source
    (linked,) = run.inputs.model_inputs
    (trained,) = client.get_run(run_ids["classifier"]).outputs.model_outputs
    assert linked.model_id == trained.model_id
    plot = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/predictions.png")
    with open(plot, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_mlflow_run(project, trained, uris, store, tmp_path):
    write(tmp_path / "wines 1.csv", [*MEASURED[:5], ["dry"] * 11])
    address = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    scoring = (*("mlflow", "run", project, "-e", "score", *LOCAL, "-P", f"model={uris['main']}"),)
    output = tmp_path / "scored.csv"
    done = command(
        *(*scoring, "-P", f"input={tmp_path}/wines 1.csv", "-P", f"output={output}"),
        cwd=tmp_path,
        **address,
    )
    assert done.returncode != 0
    assert counts(done.stdout) == (5, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert len(read(output)[1]) == 5

    output.write_text("mine")
    done = command(
        *(*scoring, "-P", "input=predict.csv", "-P", f"output={output}"), cwd=tmp_path, **address
    )
    assert done.returncode != 0
    assert "overwrite=true" in done.stderr
    assert output.read_text() == "mine"
    assert [run.info.status for run in runs(store)[:2]] == ["FAILED", "FAILED"]

    done = command(
        *(*scoring, "-P", "input=predict.csv", "-P", f"output={output}", "-P", "overwrite=true"),
        cwd=tmp_path,
        **address,
    )
    assert done.returncode == 0, done.stderr
    assert counts(done.stdout) == (20, 0)
    assert runs(store)[0].info.status == "FINISHED"


def test_progress_bar_is_for_a_terminal(uris, store, large, tmp_path):
    main, terminal = pty.openpty()
    environ = environment(MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db", COLUMNS="80")
    with subprocess.Popen(
        [sys.executable, PROJECT / "score.py", uris["main"], large, "scored.csv"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    ) as scoring:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is closed at the other side
            while more := os.read(main, 65536):
                shown += more
    os.close(main)
    assert scoring.returncode == 0
    assert shown.count(b"\r") > 2
    assert re.search(rb"100\s?%", shown)


# Whole or not at all


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(*arguments, store, cwd):
    """Return the greatest memory (MB) of a scoring, started by a small process: Linux counts a
    child from the memory of its parent on.
    """
    done = command(
        *(sys.executable, "-c", PEAK, sys.executable, PROJECT / "score.py", *arguments),
        cwd=cwd,
        MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db",
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)


def test_memory_does_not_grow_with_the_table(uris, store, large, tmp_path):
    grow(tmp_path / "larger.csv", 1_600_000)
    used = [
        peak(uris["main"], path, "scored.csv", "true", store=store, cwd=tmp_path)
        for path in (large, tmp_path / "larger.csv")
    ]
    print(f"\n400,000 wines: {used[0]:.0f} MB, 1,600,000 wines: {used[1]:.0f} MB")
    with open(tmp_path / "scored.csv", "rb") as file:
        assert sum(1 for _ in file) == 1_600_001
    assert used[1] - used[0] < 50


def begun(folder, scoring):
    """Wait until a scoring writes its output; return the names in its folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and scoring.poll() is None:
        with os.scandir(folder) as listing:
            files = {item.name: item.stat().st_size for item in listing}
        if any("partial" in name and size for name, size in files.items()):
            return files
        time.sleep(0.005)
    pytest.fail(f"the scoring did not write: {scoring.communicate()[0]}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number, uris, store, large, tmp_path):
    with script(uris["main"], large, "scored.csv", store=store, cwd=tmp_path) as scoring:
        begun(tmp_path, scoring)
        os.killpg(scoring.pid, number)
        said = scoring.communicate(timeout=60)[0]
    assert scoring.returncode == 130
    assert said.endswith("score.py: interrupted\n")
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []
    assert runs(store)[0].info.status == "KILLED"


def test_killed_and_started_again(uris, store, large, models, tmp_path):
    with script(uris["main"], large, "scored.csv", store=store, cwd=tmp_path) as scoring:
        begun(tmp_path, scoring)
        os.killpg(scoring.pid, signal.SIGKILL)
        scoring.communicate()
    assert scoring.returncode == -signal.SIGKILL
    assert not (tmp_path / "scored.csv").exists()
    assert not (tmp_path / "scored.csv.rejected.csv").exists()
    with script(uris["main"], large, "scored.csv", store=store, cwd=tmp_path) as scoring:
        said = scoring.communicate()[0]
    assert (scoring.returncode, counts(said)) == (0, (400_000, 0))
    scored = pd.read_csv(tmp_path / "scored.csv", dtype=str)
    whole = len(scored) // len(MEASURED) * len(MEASURED)
    answers = expected(models["main"], MEASURED).ravel()
    found = scored["prediction"].astype(float).to_numpy()
    np.testing.assert_allclose(
        found[:whole].reshape(-1, len(MEASURED)), np.tile(answers, (81, 1)), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(found[whole:], answers[: len(found) - whole], rtol=0, atol=1e-12)


def test_two_at_once(uris, store, large, tmp_path):
    names = ("a.csv", "b.csv")
    together = [script(uris["main"], large, name, store=store, cwd=tmp_path) for name in names]
    for scoring in together:
        said = scoring.communicate(timeout=120)[0]
        assert (scoring.returncode, counts(said)) == (0, (400_000, 0)), said
    assert sorted(os.listdir(tmp_path)) == [*names]
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_full_disk(suffix, uris, store, large, tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, which mounts a small disk for one process")
    mount = "mkdir full && mount -t tmpfs -o size=1m tmpfs full"
    isolated = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    tried = command(*isolated, mount, cwd=tmp_path)
    if tried.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr}")
    done = command(
        *isolated,
        'mount -t tmpfs -o size=1m tmpfs full; "$@"; echo status $?; ls -A full',
        *("sh", sys.executable, PROJECT / "score.py", uris["main"], large, f"full/scored.{suffix}"),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db",
    )
    assert done.stdout == "status 1\n", done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert runs(store)[0].info.status == "FAILED"


def test_file_that_may_not_grow(uris, store, large, tmp_path):
    done = command(
        *("bash", "-c", 'ulimit -f 4096; exec "$@"', "bash", sys.executable),
        *(PROJECT / "score.py", uris["main"], large, "scored.csv"),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db",
    )
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
