"""Whatever is posted to a served model, it answers rightly or refuses, and lives on."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import LONG, WINES, post

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800 if LONG else 300),
    # numbers that are too large for a model are among those that are sent
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
]

COLUMNS = list(WINES)
KINDS = ["application/json", "text/csv", "application/vnd.apache.parquet"]
FORMS = ["dataframe_split", "dataframe_records", "inputs", "instances"]

bodies = settings(
    max_examples=2000 if LONG else 100,
    deadline=None,
    derandomize=True,
    database=None,
    # a fixture's server and model serve all bodies; a body of many wines is large on purpose
    suppress_health_check=list(HealthCheck),
)

ordinary = st.floats(0, 300) | st.integers(0, 300)
extreme = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)


def tables(cells):
    """Return a strategy of the rows of a table."""
    return st.lists(st.tuples(*[cells] * len(COLUMNS)), min_size=1, max_size=20)


wines = tables(ordinary) | tables(ordinary | extreme)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.dictionaries(st.text(max_size=9) | st.sampled_from(COLUMNS), inner, max_size=12)
    ),
    max_leaves=25,
)


@st.composite
def valid(draw):
    """Draw a table, a body that holds it in one of the allowed ways, and its content type."""
    table = pd.DataFrame(draw(wines), columns=COLUMNS, dtype=object)
    sent = table[draw(st.permutations(COLUMNS))]
    if draw(st.booleans()):
        sent = sent.assign(colour="white", grade=7)
    kind = draw(st.sampled_from(["json", "json", "json", "csv", "parquet"]))
    if kind == "csv":
        newline = draw(st.sampled_from(["\n", "\r\n"]))
        body = sent.to_csv(index=False, lineterminator=newline).encode()
        return table, body, draw(st.sampled_from(["text/csv", "text/csv; charset=UTF-8"]))
    if kind == "parquet":  # which has types: MLflow asks of it the signature's
        file = io.BytesIO()
        sent.astype({column: "float64" for column in COLUMNS}).to_parquet(file)
        return table, file.getvalue(), KINDS[2]
    form = draw(st.sampled_from(FORMS))
    content = {
        "dataframe_split": lambda: {"columns": list(sent), "data": sent.to_numpy().tolist()},
        "inputs": lambda: sent.to_dict(orient="list"),
    }.get(form, lambda: sent.to_dict(orient="records"))()
    text = json.dumps({form: content}, indent=draw(st.none() | st.integers(0, 3)))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    return table, text.encode(encoding), KINDS[0]


@bodies
@given(sent=valid())
def test_valid_body_gets_the_answers_of_the_model_in_memory(served, models, sent):
    entry_point, address = served
    table, body, content_type = sent
    table = table.astype("float64")
    status, answer = post(address, body, content_type)
    try:
        expected = models[entry_point].predict(table)
    except ValueError:  # the numbers are too large for this model
        assert status == 400
        return
    assert status == 200, answer
    # CSV is read to the last digit but one
    largest = np.abs(table.to_numpy()).max()
    assert answer["predictions"] == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-12 * largest)


@st.composite
def nearly_valid(draw):
    """Draw a body with one thing wrong, or two, and a content type that is seldom wrong."""
    rows = [list(row) for row in draw(wines)]
    columns = list(COLUMNS)
    for _ in range(draw(st.integers(1, 2))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        wrong = draw(st.sampled_from(["cell", "row", "column", "bytes"]))
        if wrong == "cell" and row:
            row[draw(st.integers(0, len(row) - 1))] = draw(junk)
        elif wrong == "row":
            row[:] = draw(st.lists(junk, max_size=13))
        elif wrong == "column":
            columns[draw(st.integers(0, len(columns) - 1))] = draw(junk | st.sampled_from(COLUMNS))
    records = [dict(zip(map(str, columns), row, strict=False)) for row in rows]
    body = draw(
        st.sampled_from(
            [
                {"dataframe_split": {"columns": columns, "data": rows}},
                {"dataframe_split": {"columns": columns, "data": rows, "index": draw(junk)}},
                {"dataframe_records": records},
                {"instances": records},
                {"inputs": {str(column): row for column, row in zip(columns, rows, strict=False)}},
                {draw(st.sampled_from([*FORMS, "messages", "prompt"])): draw(junk), "params": 1},
                ",".join(map(str, columns)) + "\n" + "\n".join(str(row)[1:-1] for row in rows),
            ]
        )
    )
    kind = KINDS[isinstance(body, str)]
    body = (body if isinstance(body, str) else json.dumps(body)).encode(errors="replace")
    if wrong == "bytes":
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=9)) + body[at + draw(st.integers(0, 9)) :]
    return body, draw(st.sampled_from([kind] * 9 + KINDS))


anything = st.tuples(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode(errors="replace"))
    | junk.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([*KINDS, "application/json; charset=latin-1", "text/html", ""])
    | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")),
)


@bodies
@given(sent=nearly_valid())
def test_nearly_valid_body_is_answered_or_refused(served, sent):
    answered_or_refused(served, *sent)


@bodies
@given(sent=anything)
def test_any_body_is_answered_or_refused(served, sent):
    answered_or_refused(served, *sent)


def answered_or_refused(served, body, content_type):
    status, answer = post(served[1], body, content_type)
    assert status in (200, 400, 415) or (status == 500 and breaks_mlflow(body)), answer


def breaks_mlflow(body):
    """Return whether a body has column names that are no names, see UNHASHABLE below."""
    columns = json.loads(body)["dataframe_split"]["columns"]
    return any(isinstance(column, (dict, list)) for column in columns)


def test_many_wines_in_one_body_are_answered(served, models):
    entry_point, address = served
    many = pd.concat([WINES] * (50000 if LONG else 500), ignore_index=True)
    status, answer = post(address, many.to_csv(index=False), "text/csv")
    assert status == 200
    assert answer["predictions"] == pytest.approx(models[entry_point].predict(many).tolist())


# What MLflow 3.17.2 itself gets wrong, held so that it is noticed when it no longer does

GOOD = {"columns": COLUMNS, "data": WINES.head(1).to_numpy().tolist()}
UNHASHABLE = {"dataframe_split": {**GOOD, "columns": [{}, *COLUMNS[1:]]}}
SERVER_ERRORS = {
    "no content type": ({"dataframe_split": GOOD}, None),
    "nested too deeply for json": ("[" * 100_000, KINDS[0]),
    "more digits than int takes": ('{"inputs": ' + "1" * 5000 + "}", KINDS[0]),
    "a column's name that is no name": (UNHASHABLE, KINDS[0]),
}


@pytest.mark.parametrize("fault", SERVER_ERRORS)
def test_known_fault_of_mlflow_that_is_a_server_error(served, fault):
    assert post(served[1], *SERVER_ERRORS[fault]) == (500, "Internal Server Error")
    assert post(served[1], {"dataframe_split": GOOD})[0] == 200


def test_known_fault_of_mlflow_that_takes_a_body_for_another(served, models):
    """MLflow 3.17.2 takes these bodies for others, before the model sees them."""
    entry_point, address = served
    header, *rows = WINES.head(2).to_csv(index=False).splitlines()
    # one cell more than the header has names: the first becomes the row's index, all others move
    shifted = WINES.head(2).shift(-1, axis="columns").assign(alcohol=7.0)
    status, answer = post(address, "\n".join([header, *(f"{row},7.0" for row in rows)]), KINDS[1])
    assert (status, answer["predictions"]) == (200, models[entry_point].predict(shifted).tolist())
    # two halves of wines are taken for one
    wine = WINES.head(1).to_dict(orient="records")[0]
    halves = [{c: wine[c] for c in COLUMNS[:5]}, {c: wine[c] for c in COLUMNS[5:]}]
    status, answer = post(address, {"instances": halves})
    assert (status, len(answer["predictions"])) == (200, 1)
