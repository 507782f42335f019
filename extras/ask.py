"""Serve a model, and a page beside it that asks it: a slider for each measurement.

mlflow run . -e ask --env-manager local -P model=runs:/<ID>/model
python -m extras.ask runs:/<ID>/model 5002
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # also those of the imports below

import contextlib
import json
import socket

import mlflow
import pandas as pd
import uvicorn
from fastapi.responses import HTMLResponse
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from extras.models import load
from wine import UserError, ask, cli, dataset, evaluation, tracking
from wine.tables import PROJECT

HOST = "127.0.0.1"  # The server asks for no password.
ROWS = PROJECT / "predict.csv"


def make_page(model, served):
    """Return the page that asks a model, as `extras.models.load` and MLflow have loaded it."""
    classes = model.estimator.classes_.tolist() if len(model.outputs) > 1 else []
    name, metric = evaluation.name(model.estimator), evaluation.main_metric(model.estimator).name
    target, score = dataset.TARGET, None
    with contextlib.suppress(MlflowException, LookupError):  # The model may be of another store.
        run = mlflow.get_run(served.metadata.run_id)
        schema = json.loads(run.inputs.dataset_inputs[0].dataset.schema)
        target = schema["mlflow_colspec"][-1]["name"]
        score = run.data.metrics[f"{metric}_unseen"]
    judged = "" if score is None else f", {metric} {score:.4f} on unseen {dataset.NOUN}s"
    predict_fn = served.metadata.flavors["python_function"]["predict_fn"]
    rows = pd.read_csv(ROWS, dtype=str).fillna("") if ROWS.exists() else pd.DataFrame()
    content = {"columns": model.columns, "deciles": model.deciles, "classes": classes}
    content |= {"target": target, "model": name + judged, "start": f"the median {dataset.NOUN}"}
    content["scale"] = " or ".join(map(str, classes)) or dataset.TARGET_SCALE
    content |= {"threshold": evaluation.threshold(model.estimator), "predict_fn": predict_fn}
    content["spread"] = None if classes else score  # The answer has as many digits as this needs.
    return ask.render(rows=rows.to_dict("records"), **content)


def main():
    """Load the model, and serve it and its page until Ctrl-C."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "its address: runs:/, models:/ or a path")
    parser.add("port", cli.integer(1), 5002, "where the page is, on this machine only")
    params = parser.read()
    try:
        listener = socket.create_server((HOST, params["port"]))
    except (OSError, OverflowError) as error:
        received = f"port: received {params['port']} ({error})"
        raise UserError(f"{received}, allowed is a free one up to 65535") from error
    with listener, tracking.fail_fast():
        model, served = load(params["model"]), mlflow.pyfunc.load_model(params["model"])
        if not model.deciles:
            raise UserError(f"model: received {params['model']!r}, whose metadata has no deciles")
        text, app = make_page(model, served), scoring_server.init(served)
        app.get("/", response_class=HTMLResponse)(lambda: text)
        process.print_text(f"Ask the model, until Ctrl-C:\n\nhttp://{HOST}:{params['port']}\n")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


if __name__ == "__main__":
    process.run(main)
