"""Models: what cannot be used is refused in one line, and before any code of its own runs."""

import copy
import pathlib
import shutil

from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.models import infer_signature

from extras import models
from helpers import tracking_in
from wine import UserError, dataset, model

TABLE = dataset.load(dataset.DATA).head(1000)
X, QUALITY = TABLE[dataset.FEATURES], TABLE["quality"]
IS_GOOD = QUALITY >= 7
WORDS = IS_GOOD.map({True: "good", False: "other"})
SETTING = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


@pytest.fixture(autouse=True)
def own_folder(new_store, monkeypatch):
    """Let each test save in its own folder, beside a store that knows no model."""
    monkeypatch.chdir(new_store)
    monkeypatch.delenv(SETTING, raising=False)
    with tracking_in(new_store):
        yield


def save(estimator, y=QUALITY, *, X=X, **options):
    """Fit a model, and save it."""
    defaults = {
        "signature": infer_signature(TABLE[dataset.FEATURES]),
        "serialization_format": "skops",
        "pip_requirements": ["scikit-learn"],  # MLflow would spend seconds to find them out.
    }
    mlflow.sklearn.save_model(estimator.fit(X, y), "saved", **(defaults | options))


def edit_mlmodel(edit):
    """Change what the file MLmodel of the saved model says."""
    content = yaml.safe_load(pathlib.Path("saved/MLmodel").read_text())
    edit(content)
    pathlib.Path("saved/MLmodel").write_text(yaml.safe_dump(content))


def assert_refused(*parts):
    """Assert that the saved model is refused in one line with all parts."""
    with pytest.raises(UserError) as caught:
        models.load("saved")
    line = str(caught.value)
    assert (line.startswith("model: received 'saved' ("), "\n" in line) == (True, False)
    assert [part for part in (*parts, "), allowed is a scikit-learn ") if part not in line] == []


@pytest.mark.filterwarnings("ignore")  # what scikit-learn and MLflow say of such models
def test_unfit_model_is_refused():
    save(KMeans(2, random_state=0))
    assert_refused("it is a KMeans")
    shutil.rmtree("saved")
    save(LinearRegression(), signature=infer_signature(X.to_numpy()))
    assert_refused("it does not name its columns")
    shutil.rmtree("saved")
    save(LinearRegression(), signature=infer_signature(X[X.columns[::-1]]))
    assert_refused("it was not fitted on the columns that it names")


class Hostile(LinearRegression):
    """An estimator that leaves a file behind wherever it is unpickled."""

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("ran"),)


@pytest.mark.filterwarnings("ignore")  # MLflow's word on these formats
@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_pickled_model_is_refused_before_its_code_runs(form, monkeypatch):
    save(Hostile(), serialization_format=form)
    assert_refused(f"it may run any code when it is loaded: {form}; {SETTING}=true loads what you")
    monkeypatch.setenv(SETTING, "false")
    assert_refused(SETTING)
    assert not pathlib.Path("ran").exists()
    monkeypatch.setenv(SETTING, "true")
    assert_refused("it was not fitted on the columns")  # It has become None.
    assert pathlib.Path("ran").exists()


def test_model_with_code_of_its_own_is_refused():
    pathlib.Path("own.py").touch()
    save(LinearRegression(), code_paths=["own.py"])
    assert_refused("code", SETTING)
    shutil.rmtree("saved")
    save(LinearRegression())
    assert models.load("saved").outputs == ["prediction"]
    edit_mlmodel(lambda content: content["flavors"]["python_function"].update(loader_module="own"))
    assert_refused("code", SETTING)
    edit_mlmodel(lambda content: content["flavors"].pop("sklearn"))
    assert_refused("it is a model of python_function")


def test_types_that_only_the_model_trusts_need_the_setting(monkeypatch):
    pipeline = make_pipeline(FunctionTransformer(copy.copy), LinearRegression())
    save(pipeline, skops_trusted_types=["copy.copy"])
    assert_refused("it may run any code when it is loaded: copy.copy", SETTING)
    monkeypatch.setenv(SETTING, "true")
    assert models.load("saved").outputs == ["prediction"]


def trees(**options):
    """Return trees, with a threshold or without."""
    estimator = ExtraTreesClassifier(10, min_samples_leaf=5, random_state=0)
    return FixedThresholdClassifier(estimator, **options) if options else estimator


LINEAR = make_pipeline(StandardScaler(), LogisticRegression())
BY_DECISION = {"threshold": 2.5, "response_method": "decision_function"}


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (trees(), WORDS),
        (trees(threshold=0.33, pos_label="good"), WORDS),
        (trees(threshold=0.33, pos_label="other", response_method="predict_proba"), WORDS),
        (FixedThresholdClassifier(LINEAR, **BY_DECISION, pos_label="good"), WORDS),
        (trees(threshold="auto"), IS_GOOD.astype("int64")),
        (trees(threshold=0.33), IS_GOOD),
        (trees(), QUALITY),
        (LINEAR, WORDS),
    ],
)
def test_classes_and_probabilities_are_those_of_the_estimator(estimator, y):
    save(estimator, y, skops_trusted_types=model.TRUSTED_TYPES)
    found = models.predict(models.load("saved"), X)
    expected, probabilities = estimator.predict(X), estimator.predict_proba(X)
    assert len(np.unique(expected)) > 1
    assert found.pop("prediction").tolist() == expected.tolist()
    names = [f"probability_{each}" for each in estimator.classes_]
    if [*estimator.classes_] == [0, 1]:
        names, probabilities = ["probability"], probabilities[:, 1:]
    assert [*found] == names
    np.testing.assert_allclose(np.column_stack([*found.values()]), probabilities, atol=1e-12)


def test_texts_and_missing_values_are_those_that_the_model_declares():
    """The encoder refuses a text that it has not seen, and is tried out with one that it has."""
    table = pd.DataFrame({"site": ["a", "b"] * 9, "pH": np.arange(18.0)})
    encoder = make_column_transformer((OneHotEncoder(), ["site"]), remainder="passthrough")
    save(
        make_pipeline(encoder, LinearRegression()),
        np.arange(18),
        X=table,
        signature=infer_signature(table),
        metadata={"deciles": model.deciles(table), "missing": ["", "NA"]},
        skops_trusted_types=model.TRUSTED_TYPES,
    )
    found = models.load("saved")
    assert (found.columns, found.texts, found.missing) == (["site", "pH"], ["site"], ("", "NA"))


def test_damaged_model_is_refused_in_one_line():
    save(LinearRegression())
    for path in (pathlib.Path("saved/model.skops"), pathlib.Path("saved/MLmodel")):
        for size in (300, 0):
            path.write_bytes(path.read_bytes()[:size])
            assert_refused()


@pytest.mark.parametrize(
    "uri",
    ["runs:/0/model", "models:/none/1", "models:/none@x", "models:/m-0", "no/model", "abc://wine"],
)
def test_address_without_a_model_is_refused_in_one_line(uri):
    with pytest.raises(UserError, match=r"champion: received '[^\n]*allowed is a scikit-learn "):
        models.load(uri, "champion")
