"""Train an ElasticNet that predicts a wine's quality from its raw measurements.

mlflow run . -P alpha=0.5 -P l1_ratio=0.1
python train.py 0.5 0.1
"""

from sklearn.linear_model import ElasticNet

from scipy.stats import loguniform, uniform

from wine import command_line, judgement, record, table

# what sweep.py draws candidates from
SEARCH = {"alpha": loguniform(1e-4, 10), "l1_ratio": uniform(0, 1)}


def build(alpha, l1_ratio):
    """Return the estimator, not fitted."""
    return ElasticNet(alpha=alpha, l1_ratio=l1_ratio, random_state=42)


def split(wines):
    """Return the wines to train on and the wines to judge by."""
    return table.split(wines, wines[table.QUALITY], test_size=0.25, random_state=40)


def train(parameters, wines):
    """Fit, judge and record one model in the active run."""
    estimator = build(parameters["alpha"], parameters["l1_ratio"])
    converged = judgement.fit(estimator, wines, remedy="raise alpha")
    scores = judgement.scores(estimator, wines)
    figures = judgement.figures(estimator, wines)
    record.training(estimator, parameters, wines, scores, figures, converged)


def read_command_line(argv=None):
    """Return the parameters by name."""
    parser = command_line.Parser(__doc__)
    parser.add("alpha", command_line.number(0), 1.0, "strength of the penalty on coefficients")
    parser.add("l1_ratio", command_line.number(0, 1), 0.1, "share of L1 in it, the rest is L2")
    parser.add("data", str, "wine-quality.csv", "path or URL of the table")
    return parser.read(argv)


def main():
    """Read the command line, read the wines, split, fit, judge, record."""
    parameters = read_command_line()
    wines = split(table.read(parameters["data"]))
    with record.run():
        train(parameters, wines)


if __name__ == "__main__":
    command_line.run(main)
