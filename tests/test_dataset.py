"""The dataset: its columns and types, what is refused, and how the wines are split."""

import os

import numpy as np
import pandas as pd
import pytest

from helpers import PROJECT, assert_one_line_error
from wine import UserError, dataset

LINES = (PROJECT / "wine-quality.csv").read_text().splitlines()


@pytest.fixture(scope="module")
def wines():
    return dataset.load("wine-quality.csv")


# Reading


def test_measurements_are_floats_and_quality_is_an_integer(wines):
    assert list(wines) == [*dataset.FEATURES, "quality"]
    assert set(wines[dataset.FEATURES].dtypes) == {np.dtype("float64")}
    assert wines["quality"].dtype == "int64"
    pd.testing.assert_frame_equal(wines, pd.read_csv(PROJECT / "wine-quality.csv"))


def swap(row, column, value):
    """Return the lines of the wines with another text in one cell; row 0 is the header."""
    cells = LINES[row].split(",")
    cells[column] = value
    return [*LINES[:row], ",".join(cells), *LINES[row + 1 :]]


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([], ["cannot be read"]),
        (["\x00\x01\x02"], ["is missing"]),
        (swap(0, 10, "alcool"), ["column 'alcohol' is missing", "alcool"]),
        (swap(0, 10, "pH"), ["column 'pH' stands there more than once"]),
        (swap(0, 11, "grade"), ["column 'quality' is missing"]),
        (swap(3, 10, "strong"), ["column 'alcohol', row 3", "'strong'", "finite number"]),
        (swap(3, 0, ""), ["column 'fixed acidity', row 3", "''"]),
        (swap(3, 0, "inf"), ["column 'fixed acidity', row 3", "'inf'"]),
        (swap(3, 11, "5,6,7"), ["row 3 of ", "allowed are 12 cells"]),
        (swap(3, 0, "1e39"), ["column 'fixed acidity', row 3", "'1e39'", "from -1e30 to 1e30"]),
        (swap(4, 5, "-1e308"), ["column 'free sulfur dioxide', row 4", "from -1e30 to 1e30"]),
    ],
)
def test_invalid_table_is_refused_in_one_line(tmp_path, lines, parts):
    (tmp_path / "wines.csv").write_text("\n".join(lines))
    with pytest.raises(UserError) as refused:
        dataset.load(str(tmp_path / "wines.csv"))
    for part in ("data: ", *parts):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (LINES[:1], ["received 0 wines", "allowed are 5 or more"]),
        (LINES[:5], ["received 4 wines", "allowed are 5 or more"]),
        (swap(3, 10, "strong"), ["column 'alcohol', row 3", "'strong'", "finite number"]),
    ],
)
def test_refused_table_is_one_line_and_nothing_is_recorded(run_script, tmp_path, lines, parts):
    (tmp_path / "wines.csv").write_text("\n".join(lines))
    result = run_script("train.py", 1, 0.1, "wines.csv")
    assert_one_line_error(result, "data: ", *parts, status=1)
    assert not (tmp_path / "mlflow.db").exists()


def test_table_that_is_missing_or_a_folder_is_refused(run_script, tmp_path):
    for data, wrong in (("none.csv", "no such file"), (str(tmp_path), "which is a folder")):
        result = run_script("train.py", 1, 0.1, data)
        assert_one_line_error(result, f"data: received {data!r}, {wrong}", status=1)


def test_table_that_is_not_text_is_refused(run_script, tmp_path):
    (tmp_path / "wines.csv").write_bytes(bytes(range(256)) * 9)
    result = run_script("train.py", 1, 0.1, "wines.csv")
    assert_one_line_error(result, "data: wines.csv cannot be read", status=1)


def test_classifier_needs_two_classes(run_script, tmp_path):
    ordinary = [line for line in LINES if line[-1] in "y3456"]
    (tmp_path / "wines.csv").write_text("\n".join(ordinary))
    result = run_script("clf-train.py", 5, 3, "wines.csv")
    assert_one_line_error(result, "with good 0 only", "two different", status=1)


@pytest.mark.parametrize(
    ("value", "kind"), [("7", "int64"), ("5.5", "float64"), ("1e19", "float64"), ("-3", "int64")]
)
def test_target_is_any_finite_number(value, kind, tmp_path):
    (tmp_path / "wines.csv").write_text("\n".join(swap(3, 11, value)))
    target = dataset.load(str(tmp_path / "wines.csv"))["quality"]
    assert (target[2], target.dtype) == (float(value), kind)


# Splitting


def test_split_keeps_each_wine_once(wines):
    split = dataset.split(wines, wines["quality"], test_size=0.25, random_state=40)
    assert (len(split.X_train), len(split.X_test)) == (3673, 1225)
    assert sorted([*split.X_train.index, *split.X_test.index]) == list(range(len(wines)))
    assert (split.y_test == wines["quality"][split.X_test.index]).all()
    assert split.target_counts.to_dict() == {3: 20, 4: 163, 5: 1457, 6: 2198, 7: 880, 8: 175, 9: 5}


def test_unseen_wines_differ_from_the_training_wines_and_from_each_other(wines):
    split = dataset.split(wines, wines["quality"], test_size=0.25, random_state=40)
    seen, unseen = set(map(tuple, split.X_train.to_numpy())), []
    for measurements in map(tuple, split.X_test.to_numpy()):
        unseen.append(measurements not in seen)
        seen.add(measurements)
    assert split.unseen.tolist() == unseen


@pytest.mark.parametrize("seed", range(5))
def test_unseen_rows_of_a_table_with_many_copies_and_missing_values(seed):
    rng = np.random.default_rng(seed)
    values = rng.choice([-1.5, -0.0, 0.0, 1e30, np.nan], (200, len(dataset.FEATURES)))
    table = pd.DataFrame(values, columns=dataset.FEATURES).sample(400, replace=True, random_state=0)
    table = table.reset_index(drop=True)
    table["quality"] = rng.integers(5, 7, 400)
    split = dataset.split(table)
    seen = pd.MultiIndex.from_frame(split.X_train)
    tested = pd.MultiIndex.from_frame(split.X_test)
    assert split.unseen.tolist() == (~tested.isin(seen) & ~tested.duplicated()).tolist()
    assert 0 < split.unseen.sum() < len(tested)


@pytest.mark.skipif(os.name == "nt", reason="POSIX's pipes and links")
def test_pipe_or_link_is_not_a_missing_file(run_script, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    for data, wrong in (
        ("pipe", "which is a pipe or a device, whose start cannot be read again"),
        ("/dev/null", "which is a pipe or a device, whose start cannot be read again"),
        ("loop", "which is a link to no file"),
    ):
        result = run_script("train.py", 1, 0.1, data)
        assert_one_line_error(result, f"data: received {data!r}, {wrong}; allowed is", status=1)


def test_table_by_its_file_address_is_read_without_a_warning(run_script, new_store):
    result = run_script("train.py", 1, 0.1, (PROJECT / "wine-quality.csv").as_uri())
    assert result.status == 0
    assert "Warning" not in result.err


def test_of_a_header_of_many_names_only_the_needed_ones_are_read(tmp_path):
    names = [f"x{number}" for number in range(100_000)]
    table = [[*names, *LINES[0].split(",")], *([*"1" * len(names), line] for line in LINES[1:9])]
    (tmp_path / "wide.csv").write_text("\n".join(",".join(row) for row in table))
    wide = dataset.load(str(tmp_path / "wide.csv"))
    pd.testing.assert_frame_equal(wide, dataset.load(dataset.DATA).head(8))


@pytest.mark.parametrize("random_state", range(3))
def test_split_refuses_one_value_only(wines, random_state):
    same = wines[wines["quality"] == 6].head(40)
    with pytest.raises(UserError, match="received 30 training wines with quality 6 only"):
        dataset.split(same, same["quality"], test_size=0.25, random_state=random_state)
