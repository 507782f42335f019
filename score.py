"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . -e score -P model=runs:/<ID>/model -P input=wines.csv -P output=scored.csv
python score.py runs:/<ID>/model wines.csv scored.csv
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

import sys
import time
from pathlib import Path

import sklearn  # noqa: F401 (before MLflow, which makes skops import in half the time)

import mlflow
from matplotlib.figure import Figure
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput

from wine import cli, tracking
from wine.model import load
from wine.scoring import drift, rows
from wine.scoring.local import LocalScorer

REJECTED = 3  # exit status


def log_scoring(model, source, output, counts, seconds):
    """Log the tables, the numbers of rows and a histogram of the predictions in the active run."""
    for path, context in ((source, "input"), (output, "output")):
        dataset = MetaDataset(tracking.dataset_source(path), name=Path(path).name)
        tracking.log_input(dataset, context, LoggedModelInput(model.model_id))
    n_rows = counts.scored + counts.rejected
    mlflow.log_metrics(
        {"rows": n_rows, "rejected_rows": counts.rejected, "rows_per_second": n_rows / seconds}
    )
    if counts.scored:
        figure = Figure(figsize=(6.4, 4.8), dpi=150, layout="constrained")
        ax = figure.subplots()
        ax.stairs(counts.histogram, counts.edges, fill=True)
        ax.set(xlabel=model.outputs[-1], ylabel="rows", title=f"{counts.scored:,} rows scored")
        mlflow.log_figure(figure, "predictions.png")


def log_drift(model, counts, data):
    """Log how unlike the training rows the scored ones are, and say so where they are."""
    metrics = drift.summarize(counts.drift, model.deciles)
    mlflow.log_metrics(metrics)
    mlflow.log_figure(drift.plot(metrics, counts.scored), "drift.png")
    if warning := drift.warning(metrics, counts.scored):
        print(f"input: {data} is {warning}", file=sys.stderr)


def open_table(params):
    """Return the engine that is to score the table."""
    if params["engine"] == "local":
        return LocalScorer(params["input"])
    from wine.scoring.spark import SparkScorer  # It needs pyspark, and Java.

    return SparkScorer(params["input"], params["master"])


def read_params():
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "its address: runs:/, models:/ or a path")
    parser.require("input", str, "path of the table: .csv, .csv.gz or .parquet")
    parser.require("output", str, "path of the table to make, likewise")
    parser.add("overwrite", cli.choice("false", "true"), "false", "replace the output?")
    parser.add("engine", cli.choice("local", "spark"), "local", "what does the work")
    parser.add("master", str, "local[*]", "where Spark runs")
    return parser.read()


def main():
    """Open the model and the table, score, record."""
    params = read_params()
    overwrite = params["overwrite"] == "true"
    with open_table(params) as table:
        output = table.resolve_output(params["output"], overwrite)
        with tracking.fail_fast():
            model = load(params["model"])
        rows.check_columns(table.schema, model, params["input"])

        with tracking.start_run(f"Scoring of {Path(params['input']).name}"):
            tracking.log_params(params)
            started = time.monotonic()
            counts = table.score(model, output, overwrite)
            log_scoring(model, table.source, output, counts, time.monotonic() - started)
            if counts.scored and model.deciles:
                log_drift(model, counts, params["input"])

    result = f"{counts.scored} rows scored into {output}, {counts.rejected} rejected"
    if counts.rejected:
        result += f" into {output}.rejected.csv"
    if counts.rejected_lines > counts.rejected:
        result += f", which are {counts.rejected_lines} lines of the input"
    process.print_text(result)
    sys.exit(REJECTED if counts.rejected else 0)


if __name__ == "__main__":
    process.run(main)
