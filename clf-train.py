"""Train a random forest that tells the good wines (1: quality 7 or more) from the others (0).

mlflow run . -e classifier -P n_estimators=100
python clf-train.py 100 12
"""

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from scipy.stats import randint

from wine import command_line, judgement, record, table

GOOD = 7
# what sweep.py draws candidates from
SEARCH = {"n_estimators": randint(50, 301), "max_depth": [8, 12, 16, 20, None]}


def build(n_estimators, max_depth):
    """Return the estimator, not fitted."""
    forest = RandomForestClassifier(n_estimators=n_estimators, max_depth=max_depth, random_state=42)
    # a forest would guess without a measurement: the step before it refuses, as the regressors do
    return make_pipeline(StandardScaler(), FunctionTransformer(validate=True), forest)


def split(wines):
    """Return the wines to train on and the wines to judge by."""
    good = (wines[table.QUALITY] >= GOOD).astype("int64").rename("good")
    return table.split(wines, good, test_size=0.2, random_state=42)


def train(parameters, wines):
    """Fit, judge and record one model in the active run."""
    estimator = build(parameters["n_estimators"], parameters["max_depth"])
    forest = estimator[-1].set_params(n_jobs=-1)  # grows on all cores ...
    converged = judgement.fit(estimator, wines, remedy="raise n_estimators")
    forest.set_params(n_jobs=None)  # ... but answers one wine faster on one
    scores = judgement.scores(estimator, wines)
    figures = judgement.figures(estimator, wines)
    record.training(
        estimator,
        parameters,
        wines,
        scores,
        figures,
        converged,
        trusted_types=["sklearn.tree._tree.Tree"],
    )


def read_command_line(argv=None):
    """Return the parameters by name."""
    parser = command_line.Parser(__doc__)
    parser.add("n_estimators", command_line.whole_number(1), 200, "number of trees")
    parser.add(
        "max_depth", command_line.whole_number(1, optional=True), None, "depth limit of a tree"
    )
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
