"""What a copy for another table keeps: its own table trains, and its models predict.

These tests know nothing of wine; they go by the declarations in wine/dataset.py.
"""

import importlib
import json
import re

import mlflow
import pandas as pd
import pytest

from helpers import LOCAL, PROJECT, run_successfully, runs_of, tracking_in
from wine import UserError, dataset, evaluation

pytestmark = pytest.mark.template

SCRIPTS = sorted(path.stem for path in PROJECT.glob("*train.py"))


@pytest.fixture(params=SCRIPTS)
def script(request):
    """Return the module of each training that fits the target: labels are for classifiers."""
    script = importlib.import_module(request.param)
    if dataset.HAS_LABELS and "clf" not in request.param:
        with pytest.raises(UserError, match="only a classifier predicts"):
            script.load_split(dataset.DATA)
        pytest.skip(f"{request.param} refuses labels, as it should")
    if "clf" in request.param and not dataset.HAS_LABELS:
        y = dataset.classes(dataset.load(dataset.DATA), script.TARGET_THRESHOLD, script.GOOD)
        if y.value_counts(normalize=True).min() < 0.05 or y.nunique() == 1:
            pytest.skip("TARGET_THRESHOLD in clf-train.py is none for this target")
    return script


def test_training_records_its_metrics_and_a_model_that_predicts(script, run_script, new_store):
    trained = run_script(f"{script.__name__}.py")
    assert trained.status == 0, trained.err
    (run,) = runs_of(new_store)
    assert run.info.status == "FINISHED"
    with tracking_in(new_store):
        model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    metric = evaluation.main_metric(model.get_raw_model()).name
    names = {f"cv_{metric}", metric, f"{metric}_unseen", f"{metric}_baseline"}
    assert names <= set(run.data.metrics)
    rows = dataset.load(dataset.DATA)[dataset.FEATURES].head(50)
    expected = pd.Series(model.get_raw_model().predict(rows)).tolist()
    assert pd.Series(model.predict(rows)).tolist() == expected


def test_rows_to_predict_have_the_features():
    assert set(dataset.FEATURES) <= set(pd.read_csv(PROJECT / "predict.csv"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_entry_point_trains_and_its_model_predicts_the_rows_to_predict(tmp_path):
    entry_point = "classifier" if dataset.HAS_LABELS else "huber"
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    run = ("mlflow", "run", PROJECT, "-e", entry_point, *LOCAL, "-P", f"data={dataset.DATA}")
    model = re.search(r"runs:/\w+/model", run_successfully(*run, cwd=tmp_path, **store))[0]
    predict = ("mlflow", "models", "predict", "-m", model, *LOCAL, "-t", "csv", "-i")
    answers = run_successfully(*predict, PROJECT / "predict.csv", cwd=tmp_path, **store)
    assert json.loads(answers)["predictions"]
    if (PROJECT / "extras").exists():
        score = ("mlflow", "run", PROJECT, "-e", "score", *LOCAL, "-P", f"model={model}")
        files = ("-P", f"input={PROJECT}/predict.csv", "-P", f"output={tmp_path}/scored.csv")
        run_successfully(*score, *files, cwd=tmp_path, **store)
