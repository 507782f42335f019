"""Train a HuberRegressor, which outliers hardly move, to predict a wine's quality.

mlflow run . -e huber -P epsilon=1.5
python huber-train.py 0.0001 1.5
"""

from sklearn.linear_model import HuberRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scipy.stats import loguniform, uniform

from wine import command_line, judgement, record, table

# what sweep.py draws candidates from
SEARCH = {"alpha": loguniform(1e-5, 1e3), "epsilon": uniform(1, 2)}


def build(alpha, epsilon, max_iter):
    """Return the estimator, not fitted."""
    regressor = HuberRegressor(alpha=alpha, epsilon=epsilon, max_iter=max_iter)
    return make_pipeline(StandardScaler(), regressor)


def split(wines):
    """Return the wines to train on and the wines to judge by."""
    return table.split(wines, wines[table.QUALITY], test_size=0.25, random_state=40)


def train(parameters, wines):
    """Fit, judge and record one model in the active run."""
    estimator = build(parameters["alpha"], parameters["epsilon"], parameters["max_iter"])
    converged = judgement.fit(estimator, wines, remedy="raise max_iter")
    scores = judgement.scores(estimator, wines)
    figures = judgement.figures(estimator, wines)
    record.training(estimator, parameters, wines, scores, figures, converged)


def read_command_line(argv=None):
    """Return the parameters by name."""
    parser = command_line.Parser(__doc__)
    parser.add("alpha", command_line.number(0), 0.0001, "strength of the L2 penalty")
    parser.add(
        "epsilon", command_line.number(1), 1.35, "from how many sigma on an error is outlying"
    )
    parser.add("max_iter", command_line.whole_number(1), 100, "limit of the solver's iterations")
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
