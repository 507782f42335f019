"""docs/notebook.ipynb: its cells run in order, and MLflow comes to the numbers of the project.

The cells have no commands of Jupyter's own, so that Python runs them as a notebook would.
"""

import json
import sys

import pytest

from helpers import PROJECT, copy_project, copy_store, run_successfully, runs_of

# The metrics of mlflow.models.evaluate, and those of the training's run.
SAME = {
    "f1_score": "f1_unseen",
    "roc_auc": "roc_auc_unseen",
    "precision_recall_auc": "average_precision_unseen",
}


@pytest.fixture(scope="module")
def cells():
    return json.loads((PROJECT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]


def test_notebook_has_no_outputs(cells):
    assert [
        cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")
    ] == []


@pytest.mark.slow
def test_cells_run_in_order_and_come_to_the_numbers_of_the_runs(cells, tmp_path, empty_store):
    project = copy_project(tmp_path / "wine")
    copy_store(empty_store, project)
    script = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    printed = run_successfully(sys.executable, "-c", script, cwd=project / "docs")
    runs = runs_of(project)
    assert {run.info.status for run in runs} == {"FINISHED"}
    evaluation, classifier, *regressors = (run.data for run in runs)
    assert len(regressors) == 2

    best = min(regressors, key=lambda run: run.metrics["cv_rmse"])
    name, rmse = best.tags["mlflow.runName"], best.metrics["rmse_unseen"]
    assert f"\n{name}: rmse {rmse:.4f} on unseen wines\n" in printed

    for theirs, ours in SAME.items():
        assert evaluation.metrics[theirs] == pytest.approx(classifier.metrics[ours], abs=1e-12)
