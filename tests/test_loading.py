"""Loading: what cannot be used is refused in one line, and before any code of its own runs."""

import copy
import functools
import pathlib
import shutil
import sys

from sklearn.cluster import KMeans
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema

from helpers import PROJECT, assert_one_line_error, run_command
from tables import MEASURED, counts, write
from wine import UserError, dataset, loading, model, trainings

TABLE = dataset.load(dataset.DATA).head(1000)
X, QUALITY = TABLE[dataset.FEATURES], TABLE["quality"]
IS_GOOD = QUALITY >= 7
WORDS = IS_GOOD.map({True: "good", False: "other"})
DATES = ModelSignature(Schema([ColSpec("datetime", name) for name in dataset.FEATURES]))
TRUSTED_TYPES = trainings.load("classifier").TRUSTED_TYPES
SETTING = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Let each test save and score in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SETTING, raising=False)
    X.head(100).to_csv("wines.csv", index=False)


@pytest.fixture
def score(run_script, new_store):
    """Return a function that scores the wines with the saved model."""
    # Parquet holds the types of the columns, too.
    arguments = ("score.py", "saved", "wines.csv", "scored.parquet")
    return functools.partial(run_script, *arguments, store=new_store)


def save(estimator, y=IS_GOOD, *, X=X, **options):
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


def save_with_deciles(deciles):
    save(LinearRegression(), QUALITY, metadata={"deciles": deciles})


def save_fitted_without_names():
    save(LinearRegression(), QUALITY, X=X.to_numpy())


WITHOUT_ALCOHOL = {name: each for name, each in model.deciles(X).items() if name != "alcohol"}
UNFIT = {
    "clusterer": (lambda: save(KMeans(2, random_state=0)), "is a KMeans, allowed is a regressor"),
    "transformer": (lambda: save(StandardScaler()), "is a StandardScaler, allowed is a regressor"),
    "no probabilities": (lambda: save(LinearSVC()), "is a LinearSVC without predict_proba"),
    "tensor": (
        lambda: save(LinearRegression(), QUALITY, signature=infer_signature(X.to_numpy())),
        "does not name its columns, allowed is a model whose signature has columns by name",
    ),
    "dates": (
        lambda: save(LinearRegression(), QUALITY, signature=DATES),
        "takes the column 'fixed acidity' as datetime, allowed are numbers and texts",
    ),
    "other columns": (
        lambda: save(LinearRegression(), QUALITY, signature=infer_signature(X[["pH", "alcohol"]])),
        "cannot predict its columns: The feature names should match those that were passed",
    ),
    "fitted without names": (
        save_fitted_without_names,
        "cannot predict its columns: X has feature names, but LinearRegression was fitted without",
    ),
    "two outputs": (
        lambda: save(LinearRegression(), TABLE[["quality", "pH"]]),
        "predicts an array of the shape (2, 2) for two rows, allowed is one prediction for each",
    ),
    "two targets": (
        lambda: save(
            DecisionTreeClassifier(max_depth=2),
            np.column_stack([QUALITY, QUALITY]),
            skops_trusted_types=TRUSTED_TYPES,
        ),
        "allowed are two or more numbers or texts",
    ),
    "one class": (
        lambda: save(DecisionTreeClassifier(), QUALITY * 0, skops_trusted_types=TRUSTED_TYPES),
        "knows the classes 0, allowed are two or more numbers or texts",
    ),
    "deciles lack a column": (
        lambda: save_with_deciles(WITHOUT_ALCOHOL),
        "no valid ones of the column 'alcohol', allowed are those of all its columns, or none",
    ),
    "deciles are a list": (
        lambda: save_with_deciles(["alcohol"]),
        "no valid ones of the column 'fixed acidity'",
    ),
    "deciles of texts": (
        lambda: save_with_deciles({name: {"categories": [], "shares": []} for name in X}),
        "no valid ones of the column 'fixed acidity'",
    ),
}


@pytest.mark.filterwarnings("ignore")  # what scikit-learn and MLflow say of such models
@pytest.mark.parametrize(("make", "part"), UNFIT.values(), ids=UNFIT)
def test_unfit_model_is_refused(make, part, score):
    make()
    assert_one_line_error(score(), "model: saved ", part, status=1)


class Hostile(LinearRegression):
    """An estimator that leaves a file behind wherever it is unpickled."""

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("ran"),)


@pytest.mark.filterwarnings("ignore")  # MLflow's word on these formats
@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_pickled_model_is_refused_before_its_code_runs(form, score, monkeypatch):
    save(Hostile(), QUALITY, serialization_format=form)
    said = f"is saved with {form}, which runs any code when it is loaded, allowed is skops; "
    assert_one_line_error(score(), "model: saved ", said, f"{SETTING}=true", status=1)
    assert not pathlib.Path("ran").exists()
    monkeypatch.setenv(SETTING, "false")
    assert_one_line_error(score(), "model: received 'saved' (", SETTING, status=1)
    assert not pathlib.Path("ran").exists()
    monkeypatch.setenv(SETTING, "true")
    assert_one_line_error(score(), "NoneType", status=1)  # what it became
    assert pathlib.Path("ran").exists()


def test_model_with_code_of_its_own_is_refused():
    pathlib.Path("own.py").touch()
    save(LinearRegression(), QUALITY, code_paths=["own.py"])
    with pytest.raises(UserError, match="model: saved brings code of its own"):
        loading.load("saved")
    shutil.rmtree("saved")
    save(LinearRegression(), QUALITY)
    loading.load("saved")
    edit_mlmodel(lambda content: content["flavors"]["python_function"].update(loader_module="own"))
    with pytest.raises(UserError, match="model: saved brings code of its own"):
        loading.load("saved")


def test_types_that_only_the_model_trusts_are_refused(monkeypatch):
    pipeline = make_pipeline(FunctionTransformer(copy.copy), LinearRegression())
    save(pipeline, QUALITY, skops_trusted_types=["copy.copy"])
    with pytest.raises(UserError, match=r"holds the type copy.copy, allowed are .*TRUSTED_TYPES"):
        loading.load("saved")
    monkeypatch.setattr(trainings.load("main"), "TRUSTED_TYPES", ["copy.copy"], raising=False)
    assert loading.load("saved").outputs == ["prediction"]


def test_setting_of_mlflow_allows_types_that_only_the_model_trusts(monkeypatch):
    pipeline = make_pipeline(FunctionTransformer(copy.copy), LinearRegression())
    save(pipeline, QUALITY, skops_trusted_types=["copy.copy"])
    monkeypatch.setenv(SETTING, "true")
    assert loading.load("saved").outputs == ["prediction"]


def test_model_of_another_library_is_refused():
    save(LinearRegression(), QUALITY)
    edit_mlmodel(lambda content: content["flavors"].pop("sklearn"))
    with pytest.raises(UserError, match="is a model of python_function, allowed is one of scikit"):
        loading.load("saved")


def trees(threshold=None, **options):
    """Return trees, with a threshold or without."""
    estimator = ExtraTreesClassifier(10, min_samples_leaf=5, random_state=0)
    if threshold is None:
        return estimator
    return FixedThresholdClassifier(estimator, threshold=threshold, **options)


LINEAR = make_pipeline(StandardScaler(), LogisticRegression())
BY_PROBABILITY = {"response_method": "predict_proba"}


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (trees(), WORDS),
        (trees(0.33, pos_label="good", **BY_PROBABILITY), WORDS),
        (trees(0.33, pos_label="other", **BY_PROBABILITY), WORDS),
        (
            FixedThresholdClassifier(LINEAR, threshold=2.5, response_method="decision_function"),
            WORDS,
        ),
        (trees(0.33, **BY_PROBABILITY), IS_GOOD.astype("int64")),
        (trees(0.33, **BY_PROBABILITY), IS_GOOD),
        (trees(), QUALITY),
        (LINEAR, WORDS),
    ],
    ids=["words", "good", "other", "decision", "numbers", "truths", "grades", "no forest"],
)
def test_classes_are_scored_as_themselves(estimator, y, score):
    save(estimator, y, skops_trusted_types=TRUSTED_TYPES)
    done = score()
    assert (done.status, counts(done.out)) == (0, (100, 0)), done.err
    scored, rows = pd.read_parquet("scored.parquet"), X.head(100)
    expected = estimator.predict(rows)
    assert len(np.unique(expected)) > 1
    assert scored["prediction"].tolist() == expected.tolist()
    probabilities = estimator.predict_proba(rows)
    if set(estimator.classes_) == {0, 1}:
        found = scored[["probability"]]
        np.testing.assert_allclose(found, probabilities[:, 1:], atol=1e-12)
    else:
        found = scored[[f"probability_{each}" for each in estimator.classes_]]
        np.testing.assert_allclose(found, probabilities, atol=1e-12)


@pytest.mark.parametrize("file", ["MLmodel", "model.skops"])
@pytest.mark.parametrize("size", [0, 300])
def test_damaged_model_is_refused_in_one_line(score, file, size):
    save(LinearRegression(), QUALITY)
    path = pathlib.Path("saved", file)
    path.write_bytes(path.read_bytes()[:size])
    assert_one_line_error(score(), "model: ", "saved", status=1)


@pytest.mark.parametrize("uri", ["s3://wine/model", "gs://wine/model", "abc://wine"])
def test_model_address_that_needs_a_package_is_refused_in_one_line(uri, tmp_path):
    write(tmp_path / "wines.csv", MEASURED[:3])
    command = (sys.executable, PROJECT / "score.py", uri, "wines.csv", "scored.csv")
    done = run_command(*command, cwd=tmp_path)
    assert_one_line_error(done, f"model: received '{uri}' (", status=1)
