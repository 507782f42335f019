"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . --env-manager local -e score -P model=runs:/<ID>/model -P input=a.csv -P output=b.csv
python -m extras.score runs:/<ID>/model wines.csv scored.csv
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import functools
import sys
from pathlib import PurePath

import sklearn  # noqa: F401 (before MLflow, which makes skops import in half the time)

import mlflow
from mlflow.data.meta_dataset import MetaDataset

from extras import drift, figures, scoring
from extras.models import load
from wine import cli, report, tables, tracking


def describe(counts, location):
    """Return how many rows were scored and rejected, and where they are."""
    place = f" into {location}{scoring.REJECTED}" if counts.rejected else ""
    rows = "1 row" if counts.scored == 1 else f"{counts.scored} rows"
    return f"{rows} scored into {location}, {counts.rejected} rejected{place}"


def record(params, model, counts, source, location):
    """Log the two tables, the numbers of rows, the predictions and the drift in the active run."""
    logged = mlflow.entities.LoggedModelInput(model.model_id) if model.model_id else None
    for path, context in ((source, "input"), (str(location), "output")):
        dataset = MetaDataset(tracking.dataset_source(path), name=PurePath(path).name)
        mlflow.log_input(dataset, context, model=logged)
    n_rows = counts.scored + counts.rejected
    mlflow.log_metrics({"rows": n_rows, "rejected_rows": counts.rejected})
    note = [describe(counts, location), f"Model: {params['model']}"]
    if counts.scored:
        mlflow.log_figure(figures.predictions(counts, model.outputs), "predictions.png")
        url = report.artifact_url("predictions.png")
        process.print_text(f"See what was predicted:\n\n{report.start_command()}{url}\n")
    if counts.scored and model.deciles:
        found = drift.compare(counts.drift, model.deciles)
        mlflow.log_metrics(drift.metrics(found))
        mlflow.log_figure(figures.drift(found), "drift.png")
        unlike = [*drift.warnings(found, model.deciles)]
        for words in unlike:
            print(f"input: {params['input']} {words}", file=sys.stderr)
        note += [f"The input {words}." for words in unlike or [drift.NOTHING]]
    mlflow.set_tag("mlflow.note.content", "\n\n".join(note))  # The UI shows it as description.


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
    source, overwrite = tables.locate(params["input"]), params["overwrite"] == "true"
    location = scoring.resolve(params["output"], source, overwrite)
    with tracking.fail_fast():
        model = load(params["model"])
    first, score = params["input"], scoring.score_file
    if params["engine"] == "spark":
        from extras import spark  # It needs pyspark, and Java.

        files = spark.list_files(params["input"])
        first = next(iter(files))
        score = functools.partial(spark.score_files, params["master"], files)
    table = scoring.open_table(first, model, location)
    if form := table.describe():
        print(f"input: {params['input']} is read as: {form}", file=sys.stderr)
    with (
        tracking.recording(),
        mlflow.start_run(run_name=tracking.run_name(f"Scoring of {PurePath(source).name}")),
    ):
        mlflow.log_params(tracking.new_params(params))
        with scoring.whole(location, overwrite) as made:
            counts = score(table, model, *made)
        try:
            record(params, model, counts, source, location)
        finally:  # The output is there, also where MLflow cannot record it.
            process.print_text(describe(counts, location))
    sys.exit(3 if counts.rejected else 0)  # docs/scoring.rst names the status.


if __name__ == "__main__":
    process.run(main)
