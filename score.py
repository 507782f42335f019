"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . -e score -P model=runs:/<ID>/model -P input=wines.csv -P output=scored.csv
python score.py runs:/<ID>/model wines.csv scored.csv
"""

import sys
import time
from pathlib import Path

import mlflow
from matplotlib.figure import Figure
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput

from wine import cli, pieces, process, scoring, tracking

REJECTED = 3


def log_scoring(model, source, output, counts, seconds):
    """Log the tables, the numbers of rows and a histogram of the predictions in the active run."""
    for path, context in ((source, "input"), (output, "output")):
        dataset = MetaDataset(tracking.dataset_source(path), name=Path(path).name)
        mlflow.log_input(dataset, context=context, model=LoggedModelInput(model.model_id))
    rows = counts.scored + counts.rejected
    mlflow.log_metrics(
        {"rows": rows, "rejected_rows": counts.rejected, "rows_per_second": rows / seconds}
    )
    if counts.scored:
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        ax = figure.subplots()
        ax.stairs(counts.histogram, counts.edges, fill=True)
        ax.set(xlabel=model.answers[-1], ylabel="rows", title=f"{counts.scored:,} rows scored")
        mlflow.log_figure(figure, "predictions.png")


def main():
    """Read the command line, open model and table, score, record."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "its address: runs:/, models:/ or a path")
    parser.require("input", str, "path of the table: .csv, .csv.gz or .parquet")
    parser.require("output", str, "path of the table to make, likewise")
    parser.add("overwrite", cli.choice("false", "true"), "false", "replace the output?")
    parser.add("engine", cli.choice("local", "spark"), "local", "what does the work")
    parser.add("master", str, "local[*]", "where Spark runs")
    parameters = parser.read()

    if parameters["engine"] == "spark":
        from wine import spark  # which needs an extra, and Java

        table = spark.Table(parameters["input"], parameters["master"])
    else:
        table = pieces.Table(parameters["input"])
    output = table.place(parameters["output"], overwrite=parameters["overwrite"] == "true")
    model = scoring.load(parameters["model"])
    scoring.check_columns(model, table.columns, parameters["input"])

    with tracking.start_run():
        tracking.log_params(parameters)
        started = time.monotonic()
        counts = table.score(model, output)
        log_scoring(model, table.source, output, counts, time.monotonic() - started)
    said = f"{counts.scored} rows scored into {output}, {counts.rejected} rejected"
    print(f"{said} into {output}.rejected.csv" if counts.rejected else said)
    sys.exit(REJECTED if counts.rejected else 0)


if __name__ == "__main__":
    process.run(main)
