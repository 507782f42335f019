"""Take the pictures of the first page from a real MLflow UI, in headless Chromium.

python docs/screenshots.py
"""

import contextlib
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
WIDTH, ASSISTANT = 1340, 460  # pixels of a picture, and of the panel beside it that is cut off
COLORS = 64  # of a picture, so that the two together have less than 300 kB


def run(script, *arguments, folder):
    """Run a script of the project and return the address that it prints, without the server."""
    command = [sys.executable, PROJECT / script, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return re.findall(r"http://127.0.0.1:5050(/\S+)", done.stdout)[-1]


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


def take(address, file_name, height):
    """Take a picture of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--disable-background-networking", "--virtual-time-budget=120000"]
    with tempfile.TemporaryDirectory() as profile:  # A browser remembers its last view.
        options += [f"--user-data-dir={profile}", f"--window-size={WIDTH + ASSISTANT},{height}"]
        picture = f"--screenshot={profile}/page.png"
        subprocess.run([browser, *options, picture, address], check=True, capture_output=True)
        with Image.open(f"{profile}/page.png") as image:
            image = image.convert("RGB").crop((0, 0, WIDTH, height))
            image.quantize(COLORS).save(IMAGES / file_name, optimize=True)


def main():
    """Train, sweep and take the two pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arguments in TRAININGS:
            runs = run("train.py", *arguments, folder=folder)
        run("huber-train.py", folder=folder)
        sweep = run("sweep.py", "main", 50, folder=folder)
        with serve(folder) as server:
            take(server + runs, "runs.png", 660)
            take(server + sweep, "sweep.png", 800)


if __name__ == "__main__":
    main()
