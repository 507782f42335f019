"""What the addresses that are documented or printed open in a real browser."""

import contextlib
import os
import re
import shutil

import pytest

from helpers import environment, free_port, run_command, runs_of, start_server

BROWSER = next(filter(shutil.which, ("chromium", "google-chrome", "chrome")), None)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
OPTIONS += ["--window-size=1280,1800", "--virtual-time-budget=30000", "--dump-dom"]
RUNS = "/#/experiments/0/runs?workflowType=machine_learning"

pytestmark = [
    pytest.mark.xdist_group("ui"),
    pytest.mark.skipif(
        not BROWSER and "CI" not in os.environ, reason="needs Chromium, which .ci/run installs"
    ),
]


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Return a function that shows what a person sees in a real `mlflow ui` over a store."""
    servers, addresses = contextlib.ExitStack(), {}

    def open_page(folder, address, expected):
        if folder not in addresses:
            port = free_port()
            addresses[folder] = f"http://127.0.0.1:{port}"
            servers.enter_context(
                start_server(
                    *("mlflow", "ui", "--port", port),
                    cwd=folder,
                    ready=f"{addresses[folder]}/health",
                    # eight more processes, for traces and judges
                    env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
                )
            )
        for _ in range(3):  # on a busy machine the page is taken before it is complete
            profile = tmp_path_factory.mktemp("profile")  # a browser remembers its last view
            browse = [BROWSER, *OPTIONS, f"--user-data-dir={profile}"]
            done = run_command(*browse, f"{addresses[folder]}{address}", cwd=profile)
            if all(text in done.out for text in expected):
                break
        return done.out

    with servers:
        yield open_page


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        pytest.param(
            *("/#/experiments/0", ["Traces", "Training runs"]),
            id="traces",
            marks=pytest.mark.slow,
        ),
        pytest.param(RUNS, ["Columns", "matching runs", "wine-quality-training"], id="table"),
        pytest.param(
            *(f"{RUNS}&compareRunsMode=CHART", ["Model metrics", "Add chart", "matching runs"]),
            id="charts",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_address_opens_the_view_that_the_documents_promise(open_page, project, address, shown):
    page = open_page(project, address, shown)
    assert [text for text in shown if text not in page] == []


def test_printed_address_opens_the_trainings_the_best_first(open_page, project, trained):
    address = re.search(r"http://127.0.0.1:5050(/\S+)", trained["main"].out)[1]
    shown = ["Huber 0.0001", "ElasticNet 1.0", "rmse_unseen", "l1_ratio", "matching runs"]
    page = open_page(project, address, shown)
    names = re.findall(r">((?:ElasticNet|Huber) [\d.][^<]*)<", page)
    assert (names[0], names[-1]) == ("Huber 0.0001, 1.35, 100", "ElasticNet 1.0, 0.1")
    assert "ExtraTrees" not in page  # It has no rmse.
    # Beside the Assistant, MLflow draws as many columns as there is room for.
    columns = [f"metrics.`{name}`" for name in ("cv_rmse", "rmse_unseen")]
    assert [name for name in columns if f'col-id="{name}"' not in page] == []
    assert "rmse_baseline" not in page


def test_trainings_address_opens_their_charts(open_page, project, trained):
    address = re.search(r"http://127.0.0.1:5050(/\S+)", trained["main"].out)[1]
    shown = ["Trainings", "Parallel Coordinates", "ElasticNet 1.0", "matching runs"]
    page = open_page(project, f"{address}&compareRunsMode=CHART", shown)
    assert [text for text in shown if text not in page] == []
    assert "n_train" not in page


def test_sweeps_address_opens_its_candidates_as_charts_the_best_first(open_page, swept):
    folder, printed = swept
    address = re.search(r"http://127.0.0.1:5050(/\S+CHART\S+)", printed)[1]
    shown = ["Parallel Coordinates", "alpha vs. cv_rmse", "l1_ratio vs. cv_rmse", "matching runs"]
    page = open_page(folder, address, shown)
    assert [text for text in shown if text not in page] == []
    candidates = re.findall(r">(ElasticNet \d[^<]*)<", page)
    children = [run for run in runs_of(folder) if "trial" in run.data.tags]
    best = min(children, key=lambda run: run.data.metrics["cv_rmse"])
    assert candidates[0] == best.info.run_name
    assert set(candidates) == {run.info.run_name for run in children}


def test_sweeps_address_opens_the_plot_of_its_candidates(open_page, swept):
    folder, printed = swept
    address = re.search(r"http://127.0.0.1:5050(/\S+candidates.png\S+)", printed)[1]
    shown = ["Sweep of ElasticNet", "candidates.csv", 'alt="candidates.png"']
    page = open_page(folder, address, shown)
    assert [text for text in shown if text not in page] == []
