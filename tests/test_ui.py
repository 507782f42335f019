"""What the addresses that are documented or printed open in a real browser."""

import os
import re
import shutil
import subprocess

import pytest

from conftest import free_port, process

BROWSER = next(filter(shutil.which, ("chromium", "google-chrome", "chrome")), None)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
OPTIONS += ["--window-size=1500,900", "--virtual-time-budget=30000", "--dump-dom"]
RUNS = "/#/experiments/0/runs?workflowType=machine_learning"

pytestmark = pytest.mark.skipif(
    not BROWSER and "CI" not in os.environ, reason="needs Chromium, which .ci/run installs"
)


@pytest.fixture
def opened(tmp_path):
    """What a person sees at an address of a real `mlflow ui` over the store in a folder."""

    def open_page(folder, address, expected):
        port = free_port()
        server = f"http://127.0.0.1:{port}"
        browse = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path}", f"{server}{address}"]
        with process("mlflow", "ui", "--port", port, cwd=folder, ready=f"{server}/health"):
            for _ in range(3):  # on a busy machine the page is taken before it is complete
                done = subprocess.run(browse, capture_output=True, text=True, timeout=180)
                if all(text in done.stdout for text in expected):
                    break
        return done.stdout

    return open_page


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/#/experiments/0", ["Traces", "Training runs"]),
        (RUNS, ["Columns", "matching runs", "wine-quality-training"]),
        (f"{RUNS}&compareRunsMode=CHART", ["Model metrics", "Add chart", "matching runs"]),
    ],
    ids=["traces", "table", "charts"],
)
def test_experiment(opened, project, trained, address, shown):
    page = opened(project, address, shown)
    assert [text for text in shown if text not in page] == []


def test_candidates_of_a_sweep_are_charted_the_best_one_first(opened, swept):
    folder, printed = swept
    address = re.search(r"http://127.0.0.1:5000(/\S+CHART\S+)", printed)[1]
    page = opened(folder, address, ["Model metrics", "trial 11", "defaults"])
    candidates = re.findall(r">(trial \d+|defaults)<", page)
    assert len(set(candidates)) == 12
    assert candidates[0] == "trial 6"
    assert "Model metrics" in page
