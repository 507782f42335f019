"""The dataset: its columns and types, what a copy declares, and how the table is split."""

import importlib
import pathlib

from sklearn.linear_model import LinearRegression

import numpy as np
import pandas as pd
import pytest

from helpers import PROJECT, assert_one_line_error
from wine import UserError, dataset, evaluation


@pytest.fixture(scope="module")
def lines():
    """Return the header and the first wines as text."""
    return (PROJECT / "wine-quality.csv").read_text().splitlines()[:9]


@pytest.fixture(scope="module")
def wines():
    return dataset.load("wine-quality.csv")


@pytest.fixture
def houses(monkeypatch, tmp_path):
    """Declare a table with texts and missing values, and return a function that makes its file."""
    declared = {"FEATURES": ["heating", "area"], "TARGET": "energy", "CATEGORIES": ["heating"]}
    for name, value in (declared | {"MISSING": ["", "NA"]}).items():
        monkeypatch.setattr(dataset, name, value)

    def write(*lines):
        (tmp_path / "houses.csv").write_text("\n".join(["heating,area,energy", *lines]))
        return str(tmp_path / "houses.csv")

    return write


def test_measurements_are_floats_and_quality_is_an_integer(wines):
    kinds = {name: "float64" for name in dataset.FEATURES} | {"quality": "int64"}
    assert wines.dtypes.astype(str).to_dict() == kinds
    pd.testing.assert_frame_equal(wines, pd.read_csv(PROJECT / "wine-quality.csv"))


@pytest.mark.parametrize(("value", "kind"), [("5.5", "float64"), ("-3", "int64")])
def test_target_is_any_finite_number(value, kind, lines, tmp_path):
    other = ",".join([*lines[3].split(",")[:-1], value])
    (tmp_path / "wines.csv").write_text("\n".join([*lines[:3], other, *lines[4:]]))
    target = dataset.load(str(tmp_path / "wines.csv"))["quality"]
    assert (target[2], target.dtype) == (float(value), kind)


def test_refused_table_is_one_line_and_nothing_is_recorded(run_script, lines, tmp_path):
    cells = lines[3].split(",")
    (tmp_path / "wines.csv").write_text("\n".join([*lines[:3], ",".join(["dry", *cells[1:]])]))
    result = run_script("train.py", 1, 0.1, "wines.csv")
    assert_one_line_error(result, "data: ", "'fixed acidity'", "'dry'", status=1)
    assert not (tmp_path / "mlflow.db").exists()


def test_missing_values_and_texts_are_read_as_declared(houses, capsys):
    table = dataset.load(houses("gas,NA,90.5", "NA,70,80.25", "wood,60,", "gas,100,75.5"))
    assert table.isna().to_numpy().tolist() == [[False, True, False], [True, False, False], [0] * 3]
    assert table["energy"].tolist() == [90.5, 80.25, 75.5]
    assert "data: 1 wine without energy left out of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("CATEGORIES", ["roof"], "CATEGORIES: received 'roof', allowed are FEATURES and"),
        ("TARGET", "area", "FEATURES, TARGET, GROUP, TIME: received 'area' twice"),
        ("GROUP", "heating", "GROUP, TIME: received both|received 'heating' twice"),
        ("MAX_LABELS", 2, "'heating' of .* has 3 different texts, allowed are up to 2"),
    ],
)
def test_declaration_that_does_not_fit_is_refused(houses, monkeypatch, name, value, refusal):
    monkeypatch.setattr(dataset, name, value)
    with pytest.raises(UserError, match=refusal):
        dataset.load(houses("gas,90,90", "wood,70,80", "coal,60,70"))


def test_texts_are_one_of_several_and_missing_numbers_the_median(houses):
    table = dataset.load(houses("gas,NA,40", "NA,70,0", "wood,60,90", "gas,100,40", "wood,70,90"))
    X, y = table[dataset.FEATURES], table["energy"]
    estimator = dataset.pipeline(LinearRegression()).fit(X, y)
    names = estimator[0].get_feature_names_out()
    prepared = pd.DataFrame(estimator[:-1].transform(X), columns=names)
    assert prepared["area"].tolist() == [70, 70, 60, 100, 70]
    texts = prepared[["heating_gas", "heating_missing", "heating_wood"]]
    assert texts.to_numpy().argmax(axis=1).tolist() == [0, 1, 2, 0, 2]
    asked = pd.DataFrame({"heating": [None, np.nan, "coal"], "area": [70.0] * 3})
    assert estimator[:-1].transform(asked)[:, 1:].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_split_keeps_each_wine_once(wines):
    split = dataset.split_table(wines)
    assert (len(split.X_train), len(split.X_test)) == (3673, 1225)
    assert sorted([*split.X_train.index, *split.X_test.index]) == list(range(len(wines)))
    for X, y in ((split.X_train, split.y_train), (split.X_test, split.y_test)):
        assert y.equals(wines["quality"][X.index])


@pytest.mark.parametrize("seed", range(3))
def test_unseen_rows_differ_from_the_training_rows_and_from_each_other(seed):
    rng = np.random.default_rng(seed)
    values = rng.choice([-1.5, -0.0, 0.0, 1e30, np.nan], (200, len(dataset.FEATURES)))
    table = pd.DataFrame(values, columns=dataset.FEATURES).sample(400, replace=True, random_state=0)
    table = table.reset_index(drop=True).assign(quality=rng.integers(5, 7, 400))
    split = dataset.split_table(table)
    seen = pd.MultiIndex.from_frame(split.X_train)
    tested = pd.MultiIndex.from_frame(split.X_test)
    assert split.unseen.tolist() == (~tested.isin(seen) & ~tested.duplicated()).tolist()
    assert 0 < split.unseen.sum() < len(tested)


def test_rows_that_are_no_copies_keep_their_hashes_in_a_table_that_grew(wines, monkeypatch):
    monkeypatch.setattr(dataset, "IDENTICAL_ROWS_ARE_COPIES", False)
    grown = dataset.hash_groups(pd.concat([wines, wines.head(100)], ignore_index=True))
    assert grown.is_unique
    assert grown.head(len(wines)).equals(dataset.hash_groups(wines))
    assert dataset.split_table(wines).unseen.all()


@pytest.mark.parametrize("text", ["str", "category"])
def test_hash_of_a_row_depends_on_its_texts_and_missing_values_alone(text, monkeypatch):
    monkeypatch.setattr(dataset, "FEATURES", ["a", "b"])
    X = pd.DataFrame({"a": ["gas", None, "wood", "gas"], "b": [1.0, 1.0, 1.0, np.nan]})
    hashes = dataset.hash_groups(X.astype({"a": text}))
    assert hashes.nunique() == 4
    assert hashes.tolist()[2:] == dataset.hash_groups(X.tail(2)).tolist()
    zeros = pd.DataFrame({"a": [0.0, -0.0], "b": [1.0, 1.0]})
    assert dataset.hash_groups(zeros).nunique() == 1


@pytest.fixture
def shops(tmp_path, monkeypatch):
    """Declare a table with a column of shops and one of days, and return its path."""
    for name, value in {"FEATURES": ["a"], "TARGET": "sales"}.items():
        monkeypatch.setattr(dataset, name, value)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(400, 2)), columns=["a", "sales"])
    days = pd.date_range("2026-01-01", periods=400).strftime("%Y-%m-%d")
    table = table.assign(shop=rng.integers(0, 40, 400), day=days, number=range(400))
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "shops.csv", index=False)
    return str(tmp_path / "shops.csv")


def test_rows_of_a_group_stay_together(shops, monkeypatch):
    monkeypatch.setattr(dataset, "GROUP", "shop")
    split = dataset.split_table(table := dataset.load(shops))
    shop = table["shop"]
    assert not {*shop[split.X_train.index]} & {*shop[split.X_test.index]}
    assert split.unseen.all()
    assert split.params["split_by"] == "shop"
    assert split.groups.nunique() == shop.nunique() == 40
    for fitted, judged in evaluation.make_folds(split, classifier=False).rows:
        fitted, judged = (shop[split.X_train.index[rows]] for rows in (fitted, judged))
        assert len(fitted) + len(judged) == len(split.X_train)
        assert not {*fitted} & {*judged}


@pytest.mark.parametrize("column", ["day", "number"])
def test_last_rows_in_time_are_for_the_test(shops, monkeypatch, column):
    monkeypatch.setattr(dataset, "TIME", column)
    split = dataset.split_table(table := dataset.load(shops))
    time = table[column]
    assert (len(split.X_test), split.params["split_by"]) == (100, column)
    assert time[split.X_train.index].max() < time[split.X_test.index].min()
    for fitted, judged in evaluation.make_folds(split, classifier=False).rows:
        fitted, judged = (time[split.X_train.index[rows]] for rows in (fitted, judged))
        assert fitted.max() < judged.min()


@pytest.mark.parametrize(("form", "is_plain"), [("%d/%m/%Y", True), ("%m/%d/%Y", False)])
def test_dates_whose_month_is_plain_are_read(shops, monkeypatch, form, is_plain):
    monkeypatch.setattr(dataset, "TIME", "day")
    table = pd.read_csv(shops)
    days = pd.to_datetime(table["day"])
    days = days.where(is_plain | (days.dt.day < 13), days[0].replace(day=1))
    table.assign(day=days.dt.strftime(form)).to_csv(shops, index=False)
    if is_plain:
        read = dataset.load(shops)["day"].dt.strftime("%Y-%m-%d")
        assert read.tolist() == sorted(days.astype(str))
    else:
        with pytest.raises(UserError, match="received '0., allowed|plain which is the month"):
            dataset.load(shops)


def test_time_that_is_neither_date_nor_number_is_refused(shops, monkeypatch):
    monkeypatch.setattr(dataset, "TIME", "day")
    path = pathlib.Path(shops)
    path.write_text(path.read_text().replace("2026-01-02", "2 January"))
    with pytest.raises(UserError, match="column 'day' of .*: received '2 January', allowed are"):
        dataset.load(shops)


@pytest.mark.parametrize("texts", [3, 60])
def test_texts_of_few_and_of_many_kinds(texts, houses, monkeypatch):
    monkeypatch.setattr(dataset, "MISSING", [])
    rows = [f"h{n % texts},{n},{n % texts}" for n in range(240)]
    table = dataset.load(houses(*rows))
    X, y = table[dataset.FEATURES], table["energy"]
    estimator = dataset.pipeline(LinearRegression()).fit(X, y)
    prepared = estimator[:-1].transform(X)
    assert prepared.shape == (240, 1 + (texts if texts <= 40 else 1))
    # Each text has the target that is its number.
    assert np.corrcoef(estimator.predict(X), y)[0, 1] > 0.999
    with pytest.raises(ValueError, match="contains NaN"):
        estimator.predict(pd.DataFrame({"heating": ["h1", None], "area": [70.0, 70.0]}))


def test_word_that_csv_readers_take_for_missing_is_said(houses, monkeypatch, capsys):
    monkeypatch.setattr(dataset, "MISSING", [])
    dataset.load(houses("gas,1,2", "None,2,3", "wood,2,1"))
    assert "column 'heating' has the text 'None', which MLflow reads" in capsys.readouterr().err


def test_label_that_no_training_row_has_is_left_out(monkeypatch, capsys):
    for name, value in {"FEATURES": ["a"], "TARGET": "kind", "CATEGORIES": ["kind"]}.items():
        monkeypatch.setattr(dataset, name, value)
    monkeypatch.setattr(dataset, "HAS_LABELS", True)
    labels = ["x", "y"] * 20 + [f"rare {n}" for n in range(8)]
    table = pd.DataFrame({"a": range(48), "kind": labels})
    split = dataset.split_table(table, table["kind"])
    assert {*split.y_test} <= {*split.y_train}
    said = f"data: {12 - len(split.X_test)} test wines left out, whose kind no tra"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "n_rows", "refusal"),
    [
        ("quality > 0", 4, "received 4 wines, allowed .* 5"),
        ("quality == 6", 40, "all with the same quality"),
    ],
)
def test_table_without_enough_to_learn_is_refused(wines, kept, n_rows, refusal):
    with pytest.raises(UserError, match=refusal):
        dataset.split_table(wines.query(kept).head(n_rows))


def test_wine_is_good_from_the_threshold_on(wines, tmp_path):
    classifier = importlib.import_module("clf-train")
    split = classifier.load_split(dataset.DATA)
    good = wines["quality"] >= 7
    for y in (split.y_train, split.y_test):
        assert y.equals(good[y.index].astype("int64").rename("good"))
    wines[~good].to_csv(tmp_path / "ordinary.csv", index=False)
    with pytest.raises(UserError, match="all with the same good"):
        classifier.load_split(str(tmp_path / "ordinary.csv"))
