"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . -e score -P model=runs:/<ID>/model -P input=wines.csv -P output=scored.csv
python score.py runs:/<ID>/model wines.csv scored.csv
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

import contextlib
import functools
import sys
import time
from pathlib import Path

import sklearn  # noqa: F401 (before MLflow, which makes skops import in half the time)

import mlflow
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput

from wine import UserError, cli, files, plots, tracking
from wine.loading import load
from wine.scoring import drift, engine, output

REJECTED = 3  # exit status


def log_scoring(model, source, output, counts, seconds):
    """Log the tables, the numbers of rows and a histogram of the predictions in the active run."""
    # A model that was saved to a path without a run has no ID.
    logged = LoggedModelInput(model.model_id) if model.model_id else None
    for path, context in ((source, "input"), (output, "output")):
        dataset = MetaDataset(tracking.dataset_source(path), name=Path(path).name)
        tracking.log_input(dataset, context, logged)
    n_rows = counts.scored + counts.rejected
    mlflow.log_metrics(
        {"rows": n_rows, "rejected_rows": counts.rejected, "rows_per_second": n_rows / seconds}
    )
    if counts.scored:
        figure = plots.predictions(counts, model.outputs)
        mlflow.log_figure(figure, "predictions.png")


def log_drift(model, counts):
    """Log how unlike the training rows the scored ones are; return what is unlike, in words."""
    metrics = drift.summarize(counts.drift, model.deciles)
    mlflow.log_metrics({tracking.metric_name(key): value for key, value in metrics.items()})
    limit = drift.psi_limit(metrics, counts.scored)
    mlflow.log_figure(plots.drift(metrics, limit, counts.scored), "drift.png")
    warning = drift.warning(metrics, counts.scored)
    unknown = drift.unknown_texts(metrics, model.deciles, counts.scored)
    return [*([f"is {warning}"] if warning else []), *([unknown] if unknown else [])]


def describe(counts, location, table, data):
    """Return how many rows were scored and rejected, and where they are."""
    result = f"{counts.scored} rows scored into {location}, {counts.rejected} rejected"
    if counts.rejected:
        result += f" into {location}{output.REJECTED}"
    if counts.rejected_lines > counts.rejected:
        result += f", which are {counts.rejected_lines} lines of the input"
    return result if table.is_sized else f"{result}; {data} did not say how long it is"


def record(model, table, counts, source, location, seconds, params):
    """Log a scoring that is complete in the active run, and say what is unlike the training."""
    log_scoring(model, source, location, counts, seconds)
    unlike = log_drift(model, counts) if counts.scored and model.deciles else []
    for words in unlike:
        print(f"input: {params['input']} {words}", file=sys.stderr)
    note = [describe(counts, location, table, params["input"]), f"Model: {params['model']}"]
    note += [f"The input {words}" for words in unlike]
    if counts.scored and model.deciles and not unlike:
        note.append("The input is like the training rows.")
    mlflow.set_tag("mlflow.note.content", "\n\n".join(note))  # The UI shows it as the description.


@contextlib.contextmanager
def prepare(params, model):
    """Open the table, and give it with the function that scores it: here, or on Spark."""
    if params["engine"] == "local":
        table = engine.open_table(params["input"], model)
        yield table, functools.partial(engine.score_file, table, model)
        return
    from wine.scoring import spark  # It needs pyspark, and Java.

    table, parts = spark.list_parts(params["input"], model)
    with spark.start(params["master"]) as context:
        yield table, functools.partial(spark.score_parts, context, parts, table, model)


def read_params():
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "its address: runs:/, models:/ or a path")
    parser.require("input", str, "path or URL of the table: CSV or Parquet")
    parser.require("output", str, "path of the table to make: .csv, .csv.gz or .parquet")
    parser.add("overwrite", cli.choice("false", "true"), "false", "replace the output?")
    parser.add("engine", cli.choice("local", "spark"), "local", "what does the work")
    parser.add("master", str, "local[*]", "where Spark runs")
    return parser.read()


def main():
    """Open the model and the table, score, record."""
    params = read_params()
    overwrite, on_spark = params["overwrite"] == "true", params["engine"] == "spark"
    source = files.locate(params["input"])
    location = output.resolve(params["output"], source, overwrite, is_folder=on_spark)
    with tracking.fail_fast():
        model = load(params["model"])
    with prepare(params, model) as (table, score):
        if form := table.describe():
            print(f"input: {params['input']} is read as: {form}", file=sys.stderr)
        counts = None
        try:
            with tracking.start_run(f"Scoring of {Path(params['input']).name}"):
                tracking.log_params(params)
                started = time.monotonic()
                counts = score(location, overwrite)
                seconds = time.monotonic() - started
                record(model, table, counts, source, location, seconds, params)
        except UserError as error:
            if counts is None:
                raise
            result = describe(counts, location, table, params["input"])
            raise UserError(f"{error}; the output is complete: {result}") from error

    process.print_text(describe(counts, location, table, params["input"]))
    sys.exit(REJECTED if counts.rejected else 0)


if __name__ == "__main__":
    process.run(main)
