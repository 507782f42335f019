"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . --env-manager local -e score -P model=runs:/<ID>/model -P input=a.csv -P output=b.csv
python -m extras.score runs:/<ID>/model wines.csv scored.csv
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # also those of the imports below

import sys
import time
from pathlib import PurePath

import sklearn  # noqa: F401 (before MLflow, which makes skops import in half the time)

import mlflow
from mlflow.data.meta_dataset import MetaDataset

from extras import drift, figures, scoring
from extras.models import load
from wine import cli, report, tables, tracking

REJECTED = 3  # exit status


def describe(counts, location):
    """Return how many rows were scored and rejected, and where they are."""
    place = f" into {location}{scoring.REJECTED}" if counts.rejected else ""
    rows = "1 row" if counts.scored == 1 else f"{counts.scored} rows"
    return f"{rows} scored into {location}, {counts.rejected} rejected{place}"


def record(params, model, counts, source, location, seconds):
    """Log the two tables, the numbers of rows, the predictions and the drift in the active run."""
    logged = mlflow.entities.LoggedModelInput(model.model_id) if model.model_id else None
    for path, context in ((source, "input"), (location, "output")):
        dataset = MetaDataset(tracking.dataset_source(path), name=PurePath(path).name)
        mlflow.log_input(dataset, context, model=logged)
    n_rows = counts.scored + counts.rejected
    speed = {"rows_per_second": n_rows / seconds}
    mlflow.log_metrics({"rows": n_rows, "rejected_rows": counts.rejected} | speed)
    note, shown = [describe(counts, location), f"Model: {params['model']}"], {}
    if counts.scored:
        shown["predictions.png"] = figures.predictions(counts, model.outputs)
    if counts.scored and model.deciles:
        found = drift.compare(counts.drift, model.deciles)
        mlflow.log_metrics(drift.metrics(found))
        shown["drift.png"] = figures.drift(found)
        unlike = drift.warnings(found, model.deciles)
        for words in unlike:
            print(f"input: {params['input']} {words}", file=sys.stderr)
        note += [f"The input {words}." for words in unlike or [drift.NOTHING]]
    mlflow.set_tag("mlflow.note.content", "\n\n".join(note))  # The UI shows it as description.
    for name, figure in shown.items():
        mlflow.log_figure(figure, name)
    if urls := "\n\n".join(map(report.artifact_url, shown)):
        process.print_text(f"See what was predicted:\n\n{report.start_command()}{urls}\n")


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
    on_spark, files = params["engine"] == "spark", [(params["input"], None)]
    location = scoring.resolve(params["output"], source, overwrite, is_folder=on_spark)
    with tracking.fail_fast():
        model = load(params["model"])
    if on_spark:
        from extras import spark  # It needs pyspark, and Java.

        files = spark.list_files(params["input"])
    table = scoring.open_table(files[0][0], model, scoring.suffix(location))
    if form := table.describe():
        print(f"input: {params['input']} is read as: {form}", file=sys.stderr)
    with (
        tracking.recording(),
        mlflow.start_run(run_name=tracking.run_name(f"Scoring of {PurePath(source).name}")),
    ):
        mlflow.log_params(tracking.new_params(params))
        started = time.monotonic()
        with scoring.whole(location, overwrite) as made:
            arguments = table, model, *made, scoring.suffix(location)
            if on_spark:
                counts = spark.score_files(params["master"], files, *arguments)
            else:
                counts = scoring.score_file(*arguments, is_shown=True)
        try:
            record(params, model, counts, source, location, time.monotonic() - started)
        finally:  # The output is there, also where MLflow cannot record it.
            process.print_text(describe(counts, location))
    sys.exit(REJECTED if counts.rejected else 0)


if __name__ == "__main__":
    process.run(main)
