"""Every row is either scored or rejected, with its number and the reason."""

import os
import random

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from helpers import (
    runs_of,
)
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
