"""Score a table of any size with a model: all its columns and the predictions into a new table.

mlflow run . -e score -P model=runs:/<ID>/model -P input=wines.csv -P output=scored.csv
python score.py runs:/<ID>/model wines.csv scored.csv
"""

import sys
import time

from wine import command_line, pieces, record, scoring

REJECTED = 3


def main():
    """Read the command line, open model and table, score, record."""
    parser = command_line.Parser(__doc__)
    parser.require("model", str, "its address: runs:/, models:/ or a path")
    parser.require("input", str, "path of the table: .csv, .csv.gz or .parquet")
    parser.require("output", str, "path of the table to make, likewise")
    parser.add("overwrite", command_line.one_of("false", "true"), "false", "replace the output?")
    parser.add("engine", command_line.one_of("local", "spark"), "local", "what does the work")
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

    with record.run():
        record.log_params(parameters)
        started = time.monotonic()
        counts = table.score(model, output)
        record.scoring(model, table.source, output, counts, time.monotonic() - started)
    said = f"{counts.scored} rows scored into {output}, {counts.rejected} rejected"
    print(f"{said} into {output}.rejected.csv" if counts.rejected else said)
    sys.exit(REJECTED if counts.rejected else 0)


if __name__ == "__main__":
    command_line.run(main)
