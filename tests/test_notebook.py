"""docs/notebook.ipynb: its cells run in order, and show what is kept in the file.

The cells have no commands of Jupyter's own, so that Python runs them as a notebook would.
"""

import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import PROJECT, copy_project, copy_store, run_successfully, runs_of

# The metrics of mlflow.models.evaluate, and those of the training's run.
SAME = {"f1_score": "f1", "roc_auc": "roc_auc", "precision_recall_auc": "average_precision"}


@pytest.mark.slow
def test_cells_run_in_order_and_show_what_the_file_keeps(tmp_path, empty_store):
    cells = json.loads((PROJECT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [(cell["id"], output) for cell in cells for output in cell.get("outputs", [])]
    project = copy_project(tmp_path / "wine")
    copy_store(empty_store, project)
    script = Path(__file__).with_name("run_notebook.py")
    printed = run_successfully(sys.executable, script, cwd=project / "docs")
    kept = [each.get("text") or each["data"]["text/plain"] for _, each in outputs]
    kept = "".join("".join(text).rstrip("\n") + "\n" for text in kept)
    ids_and_folders = r'[0-9a-f]{32}|(?<=")/.*(?=/predict.csv")| at 0x\w+'
    lines = [re.sub(ids_and_folders, "", text).split("\n") for text in (printed, kept)]
    assert [line for line in lines[0] if line] == [line for line in lines[1] if line]

    images = {cell: output["data"]["image/png"] for cell, output in outputs if "png" in str(output)}
    assert len(images) == 2
    for cell, encoded in images.items():
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as shown:
            pixels = np.asarray(shown.convert("L"), dtype=float)
        with Image.open(project / f"{cell}.png") as drawn:
            difference = np.asarray(drawn.convert("L")) - pixels
        assert np.abs(difference).mean() < 0.5, f"{cell}: execute the notebook anew"  # of 255

    evaluation, classifier, *_ = (run.data for run in runs_of(project))
    for theirs, ours in SAME.items():
        unseen = classifier.metrics[f"{ours}_unseen"]
        assert evaluation.metrics[theirs] == pytest.approx(unseen, abs=1e-12)
