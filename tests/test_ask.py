"""The page that asks a linear model answers in a real browser what the model predicts."""

from urllib.parse import urlencode

from sklearn.linear_model import ElasticNet, HuberRegressor, PoissonRegressor
from sklearn.preprocessing import StandardScaler

import numpy as np
import pandas as pd
import pytest

from browser import start_browser
from wine import ask, dataset, evaluation

ODD = "</script><b>'\" & $1 &amp; ${x} {content}"  # name of a column, and a text in it


@pytest.fixture(scope="module")
def page():
    with start_browser() as page:
        yield page


@pytest.fixture
def flats(monkeypatch):
    """Return a table of texts, of numbers with gaps, and of many columns with little effect."""
    rng, n = np.random.default_rng(42), 600
    table = pd.DataFrame({"size, m²": rng.normal(70, 20, n), "constant": 3.0})
    table["rare"] = np.where(np.arange(n) % 300 == 0, 1.0, 0.0)  # Both percentiles are 0.
    table[ODD] = rng.choice(["a", "b", ODD], n)
    table["city"] = rng.choice(["Åbo", "Rio"], n)
    table.loc[::9, "size, m²"] = table.loc[::7, "city"] = np.nan
    table = table.assign(**{f"noise {k}": rng.normal(size=n) for k in range(50)})
    price = 3e5 + 4e3 * table["size, m²"].fillna(70) + 9e4 * (table[ODD] == ODD)
    declared = {"FEATURES": [*table], "TARGET": "price", "NOUN": "flat", "TARGET_SCALE": "in €"}
    for name, value in (declared | {"CATEGORIES": [ODD, "city"], "MISSING": ["NA"]}).items():
        monkeypatch.setattr(dataset, name, value)
    return table.assign(price=price + 1e5 * table["rare"] + rng.normal(0, 1e4, n))


def make_page(estimator, table, path):
    """Fit an estimator, write its page, and return the row at which the page starts."""
    split = dataset.split_table(table)
    evaluation.fit(estimator, split, {})
    result = evaluation.evaluate(estimator, split)
    path.write_text(ask.page(estimator, split, result), encoding="utf-8")
    texts = split.X_train.select_dtypes(exclude="number")
    start = split.X_train.select_dtypes("number").mean().to_dict()
    return start | {name: texts[name].mode()[0] for name in texts}


def assert_answers(page, path, estimator, start, settings):
    """Open the page with settings in its address, and compare its answer with the model's."""
    page.open(f"{path.as_uri()}#{urlencode(settings)}")
    row = pd.DataFrame([start | settings])[[*estimator.feature_names_in_]]
    expected = pytest.approx(estimator.predict(row)[0], rel=1e-9)
    assert float(page.ask("answer.dataset.value")) == expected


@pytest.mark.parametrize("steps", [[ElasticNet(0.01)], [StandardScaler(), HuberRegressor()]])
def test_page_of_wines_answers_what_the_model_predicts(steps, page, tmp_path):
    estimator, path = dataset.pipeline(*steps), tmp_path / "ask.html"
    start = make_page(estimator, dataset.load(dataset.DATA), path)
    for settings in ({}, {"alcohol": 14.2, "pH": 2.5}, {"density": 1.03898, "chlorides": 0}):
        assert_answers(page, path, estimator, start, settings)
    frame = {"width": 781, "height": 488}  # the room in MLflow's UI on a projector
    page.send("Emulation.setDeviceMetricsOverride", **frame, deviceScaleFactor=1, mobile=False)
    sizes = page.ask("[document.body.scrollWidth, document.documentElement.scrollHeight]")
    assert sizes == [*frame.values()]


def test_page_of_texts_gaps_and_odd_names_answers_what_the_model_predicts(flats, page, tmp_path):
    estimator, path = dataset.pipeline(StandardScaler(), ElasticNet(1.0)), tmp_path / "ask.html"
    start = make_page(estimator, flats, path)
    for settings in ({}, {"size, m²": 120.5, ODD: ODD}, {"rare": 1, "city": "Rio"}):
        assert_answers(page, path, estimator, start, settings)
    labels = page.ask("[...document.querySelectorAll('label')].map((each) => each.textContent)")
    assert labels[:4] == ["size, m²", "rare", ODD, "city"]
    assert len(labels) == 40
    assert "14 other columns" in page.ask("note.textContent")
    page.open(path.as_uri())
    page.enter("field0", 100)
    page.enter("field3", "Rio")
    moved = pd.DataFrame([start | {"size, m²": 100.0, "city": "Rio"}])[[*flats.columns[:-1]]]
    assert page.ask("answer.textContent") == f"{estimator.predict(moved)[0]:,.0f}"


def test_model_that_is_not_linear_has_no_such_page(tmp_path):
    with pytest.raises(ValueError, match="PoissonRegressor is not linear"):
        make_page(PoissonRegressor(), dataset.load(dataset.DATA), tmp_path / "ask.html")
