"""Serve a model, and a page beside it that asks it: a slider for each measurement.

mlflow run . -e ask --env-manager local -P model=runs:/<ID>/model
python -m extras.ask runs:/<ID>/model 5002
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import contextlib
import json
import socket

import mlflow
import pandas as pd
import uvicorn
from fastapi.responses import HTMLResponse
from mlflow.pyfunc import scoring_server

from extras.models import load
from wine import UserError, ask, cli, dataset, evaluation, tables, tracking

HOST = "127.0.0.1"  # The server asks for no password.


def make_page(model, served):
    """Return the page that asks a model, as `extras.models.load` and MLflow have loaded it."""
    estimator, target, score = model.estimator, dataset.TARGET, None
    name, metric = evaluation.name(estimator), evaluation.main_metric(estimator).name
    classes = estimator.classes_.tolist() if len(model.outputs) > 1 else []
    # The model may be of another store, or its dataset too wide for a schema.
    with contextlib.suppress(mlflow.MlflowException, LookupError, TypeError):
        run = mlflow.get_run(served.metadata.run_id)
        schema = json.loads(run.inputs.dataset_inputs[0].dataset.schema)
        target = schema["mlflow_colspec"][-1]["name"]
        score = run.data.metrics[f"{metric}_unseen"]
        name += f", {metric} {score:.4f} on unseen {dataset.NOUN}s"
    content = {"columns": model.columns, "deciles": model.deciles, "classes": classes}
    content |= {"target": target, "model": name, "start": f"the median {dataset.NOUN}"}
    content["scale"] = " or ".join(map(str, classes)) or dataset.TARGET_SCALE
    content["spread"] = None if classes else score  # The answer has as many digits as this needs.
    content["predict_fn"] = served.metadata.flavors["python_function"]["predict_fn"]
    rows = pd.read_csv(tables.PROJECT / "predict.csv", dtype=str).fillna("")
    content |= {"threshold": evaluation.threshold(estimator), "rows": rows.to_dict("records")}
    return ask.render(**content)


def main():
    """Load the model, and serve it and its page until Ctrl-C."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "its address: runs:/, models:/ or a path")
    parser.add("port", cli.integer(1, 65535), 5002, "where the page is, on this machine only")
    params = parser.read()
    with socket.create_server((HOST, params["port"])) as listener, tracking.fail_fast():
        model, served = load(params["model"]), mlflow.pyfunc.load_model(params["model"])
        if not model.deciles:
            raise UserError(f"model: received {params['model']!r}, whose metadata has no deciles")
        app, page = scoring_server.init(served), make_page(model, served)
        app.get("/", response_class=HTMLResponse)(lambda: page)
        process.print_text(f"Ask the model, until Ctrl-C:\n\nhttp://{HOST}:{params['port']}\n")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


if __name__ == "__main__":
    process.run(main)
