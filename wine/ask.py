"""The page that asks a model: a slider for each measurement, and the prediction at once."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from wine import dataset, evaluation

MAX_COLUMNS = 1000


def page(estimator, split, result):
    """Return the HTML text of a page that predicts by itself, without a server.

    Parameters
    ----------
    estimator : scikit-learn regressor
        Fitted. Its prediction is a sum of one part from each column, which is linear for numbers.
    split : wine.dataset.Split
        The sliders go from the 1st to the 99th percentile of its training rows and start at the
        mean; the menus of texts start at the most frequent one.
    result : wine.evaluation.Evaluation
        Its rmse is shown beside the prediction.

    Raises
    ------
    ValueError
        If the prediction is no such sum.
    """
    X, rmse = split.X_train, result.scores.loc["rmse"]
    fields = [_describe(column) for _, column in X.items()]
    start = {field["name"]: field["start"] for field in fields}
    n_more = len(fields) if len(fields) > MAX_COLUMNS else 0
    fields = [] if n_more else fields  # Each needs rows of all columns to be measured.
    # The parts are measured one by one, whatever steps of the estimator scale and encode a column.
    changes = [{}] + [{field["name"]: value} for field in fields for value in field["values"]]
    changes += [{field["name"]: field["values"][-1] for field in fields if field["values"]}]
    rows = pd.DataFrame([start | change for change in changes], columns=X.columns)
    base, *predicted, last = estimator.predict(rows.astype(X.dtypes)).tolist()
    for field in fields:
        field["effects"] = [predicted.pop(0) - base for _ in field["values"]]
    if not np.isclose(last, base + sum(each["effects"][-1] for each in fields if each["effects"])):
        name = evaluation.name(estimator)
        raise ValueError(f"ask.html: {name} is not linear in the columns, so leave this page out")
    subset = "test" if np.isnan(rmse["unseen"]) else "unseen"
    return render(
        target=split.y_train.name,
        scale=dataset.TARGET_SCALE,
        model=f"{evaluation.name(estimator)}, rmse {rmse[subset]:.4f} on {subset} {dataset.NOUN}s",
        start=f"the mean {dataset.NOUN}",
        spread=rmse[subset],
        base=base,
        note=f"The model has {n_more} columns, too many for sliders." if n_more else "",
        fields=[field for field in fields if X[field["name"]].nunique() > 1],
    )


def _describe(column):
    """Return where a slider starts, and its two ends; or a menu's start and all its texts."""
    if not pd.api.types.is_numeric_dtype(column):
        texts = column.value_counts()
        start, values = next(iter(texts.index), None), sorted(texts.index)
        return {"name": column.name, "isText": True, "start": start, "values": values}
    ends = column.quantile([0.01, 0.99])
    ends = ends if ends.nunique() > 1 else column.agg(["min", "max"])
    return {"name": column.name, "start": float(column.mean()), "values": ends.tolist()}


def render(**content):
    """Fill the template with what it shows; a page without `base` asks a server at /invocations."""
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    # A name of a column may hold the end of a script.
    return template.replace("{content}", json.dumps(content).replace("<", "\\u003c"))
