"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . --env-manager local -e score -P model=runs:/<ID>/model -P input=a.csv -P output=b.csv
python -m extras.score runs:/<ID>/model wines.csv scored.csv
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # also those of the imports below

import contextlib
import functools
import sys
import time
from pathlib import PurePath

import sklearn  # noqa: F401 (before MLflow, which makes skops import in half the time)

import mlflow
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput

from extras import drift, figures, scoring
from extras.models import load
from wine import UserError, cli, report, tables, tracking

REJECTED = 3  # exit status


def describe(counts, location):
    """Return how many rows were scored and rejected, and where they are."""
    result = f"{counts.scored} row{'s' * (counts.scored != 1)} scored into {location}"
    place = f" into {location}{scoring.REJECTED}" if counts.rejected else ""
    return f"{result}, {counts.rejected} rejected{place}"


def record(model, counts, source, location, seconds):
    """Log the two tables, the numbers of rows and the predictions in the active run."""
    logged = LoggedModelInput(model.model_id) if model.model_id else None
    for path, context in ((source, "input"), (location, "output")):
        dataset = MetaDataset(tracking.dataset_source(path), name=PurePath(path).name)
        mlflow.log_input(dataset, context, model=logged)
    n_rows = counts.scored + counts.rejected
    speed = {"rows_per_second": n_rows / seconds}
    mlflow.log_metrics({"rows": n_rows, "rejected_rows": counts.rejected} | speed)
    if counts.scored:
        figure = figures.predictions(counts, model.outputs)
        mlflow.log_figure(figure, "predictions.png")
        url = report.artifact_url("predictions.png")
        process.print_text(f"See the predictions:\n\n{report.start_command()}{url}\n")


def record_drift(model, counts, data):
    """Log how unlike the training rows the scored ones are; return that in sentences."""
    if not counts.scored or not model.deciles:
        return []
    found = drift.compare(counts.drift, model.deciles)
    mlflow.log_metrics(drift.metrics(found))
    mlflow.log_figure(figures.drift(found), "drift.png")
    unlike = drift.warnings(found, model.deciles)
    for words in unlike:
        print(f"input: {data} {words}", file=sys.stderr)
    url = report.artifact_url("drift.png")
    process.print_text(f"Compare the rows with the training rows:\n\n{url}\n")
    return [f"The input {words}" for words in unlike] or [drift.verdict(counts.scored)]


@contextlib.contextmanager
def prepare(params, model, location):
    """Open the table, and give it with the function that scores it: here, or on Spark."""
    places = location, location + scoring.REJECTED, params["overwrite"] == "true"
    if params["engine"] == "local":
        table = scoring.open_table(params["input"], model, scoring.suffix(location))
        yield table, functools.partial(scoring.score_file, table, model, *places, is_shown=True)
        return
    from extras import spark  # It needs pyspark, and Java.

    files = spark.list_files(params["input"])
    table = scoring.open_table(files[0][0], model, scoring.suffix(location))
    with spark.start(params["master"]) as context:
        yield table, functools.partial(spark.score_files, context, files, table, model, *places)


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
    params, result = read_params(), None
    source, overwrite = tables.locate(params["input"]), params["overwrite"] == "true"
    is_folder = params["engine"] == "spark"
    location = scoring.resolve(params["output"], source, overwrite, is_folder=is_folder)
    with tracking.fail_fast():
        model = load(params["model"])
    with prepare(params, model, location) as (table, score):
        if form := table.describe():
            print(f"input: {params['input']} is read as: {form}", file=sys.stderr)
        try:
            with (
                tracking.recording(),
                mlflow.start_run(run_name=tracking.run_name(f"Scoring of {PurePath(source).name}")),
                tracking.killed_by_interrupts(),
            ):
                mlflow.log_params(tracking.new_params(params))
                started = time.monotonic()
                counts = score()
                seconds, result = time.monotonic() - started, describe(counts, location)
                record(model, counts, source, location, seconds)
                note = [result, f"Model: {params['model']}"]
                note += record_drift(model, counts, params["input"])
                # The UI shows it as the description.
                mlflow.set_tag("mlflow.note.content", "\n\n".join(note))
        except UserError as error:
            kept = f"; the output is complete: {result}" if result else ""
            raise UserError(f"{error}{kept}") from error
    process.print_text(result)
    sys.exit(REJECTED if counts.rejected else 0)


if __name__ == "__main__":
    process.run(main)
