"""Take the pictures of the pages from a real MLflow UI, in headless Chromium.

Each is what a browser shows that was never there before, with MLflow's Assistant. Only
`first-page.png`, where the Assistant is closed, is put together by hand.

python docs/screenshots.py
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
TRAININGS = ([], [0.5, 0.1], [0.1, 0.5], [0.03, 0.9], [0.01, 0.1], [0.001, 0.5])
SCREEN = (1900, 1000)  # pixels
COLORS = 64  # of a picture, so that all together have less than 300 kB
# A headless browser has no mouse, and Plotly then lays its grey buttons over the points.
MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"


def run(*arguments, folder):
    """Run Python in a folder, and return the addresses that it prints, without the server."""
    command = [sys.executable, *map(str, arguments)]
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    env |= {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True)
    return re.findall(r"http://127.0.0.1:5050(/\S+)", done.stdout)


@contextlib.contextmanager
def serve(folder):
    """Start `mlflow ui` in a folder and yield its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port)]
    with open(folder / "ui.log", "w") as log:
        ui = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        ui.terminate()
        ui.wait()


def take(address, file_name, size):
    """Take a picture of a page, of a width and a height."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--disable-background-networking", "--virtual-time-budget=120000"]
    options += [f"--blink-settings={MOUSE}", "--window-size={},{}".format(*size)]
    with tempfile.TemporaryDirectory() as profile:  # A browser remembers its last view.
        picture = f"{profile}/page.png"
        options += [f"--user-data-dir={profile}", f"--screenshot={picture}"]
        subprocess.run([browser, *options, address], check=True, capture_output=True)
        save(picture, file_name)


def save(picture, file_name):
    """Save a picture with few colors."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLORS).save(IMAGES / file_name, optimize=True)


def main():
    """Train, sweep and take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arguments in TRAININGS:
            trainings, *_ = run(PROJECT / "train.py", *arguments, folder=folder)
        run(PROJECT / "huber-train.py", folder=folder)
        *_, sweep = run("-m", "extras.sweep", "main", 50, folder=folder)
        (candidates,) = folder.glob("mlruns/0/*/artifacts/candidates.png")
        save(candidates, candidates.name)
        with serve(folder) as server:
            take(f"{server}{trainings}&compareRunsMode=CHART", "charts.png", SCREEN)
            take(server + sweep, "sweep.png", SCREEN)


if __name__ == "__main__":
    main()
