"""ask: a real server whose page is asked in a real browser, and what is refused."""

import os
import signal
import socket

import pytest

from browser import start_browser
from helpers import (
    MLFLOW_RUN,
    WINES,
    assert_one_line_error,
    environment,
    free_port,
    post,
    run_id_in,
    start_server,
    store_uri,
)


@pytest.fixture(params=["predict", "predict_proba"])
def asked(request, run_script, new_store):
    """Train a classifier, serve it beside its page, and return its method and the address."""
    trained = run_script("clf-train.py", 5, 3, "wine-quality.csv", request.param)
    model, port = f"model=runs:/{run_id_in(trained.out)}/model", free_port()
    command = (*MLFLOW_RUN, "-e", "ask", "-P", model, "-P", f"port={port}")
    env, url = environment(MLFLOW_TRACKING_URI=store_uri(new_store)), f"http://127.0.0.1:{port}"
    with start_server(*command, cwd=new_store, env=env, ready=f"{url}/ping") as server:
        yield request.param, url
        os.killpg(server.pid, signal.SIGINT)  # as Ctrl-C does
        server.wait(30)
    printed = (new_store / "server.log").read_text()
    assert f"\nAsk the model, until Ctrl-C:\n\n{url}\n\nask.py: interrupted\n" in printed


def answer(url, wines):
    """Return what the server itself answers for wines."""
    sent = {"dataframe_split": wines.to_dict(orient="split", index=False)}
    return post(f"{url}/invocations", sent)[1]["predictions"]


def test_page_of_a_classifier_answers_for_sliders_and_for_the_next_row(asked):
    method, url = asked
    answers = answer(url, WINES)
    with start_browser() as page:
        page.open(url)
        for expected in [*answers, answers[0]]:  # After the last row comes the first one.
            page.ask("next.click()")
            page.wait_for("!asking")
            if method == "predict":
                assert page.ask("answer.textContent") == str(expected)
            else:
                assert float(page.ask("answer.dataset.value")) == expected[1]
                assert page.ask("answer.textContent") == str(int(expected[1] >= 0.33))
                assert f"probability of 1 is {expected[1]:.2f}" in page.ask("sum.textContent")
        assert page.ask("target.textContent") == "good, 0 or 1"
        page.enter("field10", 14)
        page.wait_for("!asking")
        (moved,) = answer(url, WINES.head(1).assign(alcohol=14.0))
        assert page.ask("answer.dataset.value") == str(moved if method == "predict" else moved[1])


def test_taken_port_is_refused(run_script, store, model_uris):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = run_script("extras.ask", model_uris["main"], port, store=store)
        assert_one_line_error(taken, "ask.py: ", "in use", f"('127.0.0.1', {port})")
