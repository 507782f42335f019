"""A real Chromium without a window, which opens a page and answers what a test asks of it."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest

BROWSER = next(filter(shutil.which, ("chromium", "google-chrome", "chrome")), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


class Page:
    """A page in a browser, which is asked by the DevTools protocol, here through two pipes."""

    def __init__(self, requests, answers):
        self.requests, self.answers, self.n_sent, self.session = requests, answers, 0, {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}

    def send(self, method, **params):
        """Send a command of the protocol and return its result."""
        self.n_sent += 1
        command = {"id": self.n_sent, "method": method, "params": params} | self.session
        self.requests.write(json.dumps(command).encode() + b"\0")
        self.requests.flush()
        text = b""
        while True:  # Each message ends with a zero byte; those without this ID are events.
            while not text.endswith(b"\0"):
                if not (byte := self.answers.read(1)):
                    raise ConnectionError(f"the browser has ended before it answered {method}")
                text += byte
            message, text = json.loads(text[:-1]), b""
            if message.get("id") == self.n_sent:
                assert "error" not in message, message
                return message["result"]

    def open(self, address):
        """Open an address and wait until the page is loaded."""
        self.send("Page.navigate", url="about:blank")  # A new fragment alone loads nothing.
        self.send("Page.navigate", url=str(address))
        self.wait_for("location.href != 'about:blank' && document.readyState == 'complete'")

    def ask(self, expression):
        """Return the value of an expression in JavaScript."""
        asked = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in asked, asked
        return asked["result"].get("value")

    def enter(self, name, value):
        """Set a slider, a number or a menu, by its ID, and let the page know as a person does."""
        events = "for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind))"
        self.ask(f"{{ const field = {name}; field.value = {json.dumps(value)}; {events} }}")

    def wait_for(self, expression, seconds=30):
        """Wait until an expression in JavaScript is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < deadline, f"{expression} is not true"
            time.sleep(0.05)
        return value


@contextlib.contextmanager
def start_browser():
    """Start a new browser, give its page, and end it; skip the test where there is none."""
    if not BROWSER and "CI" not in os.environ:
        pytest.skip("needs Chromium, which .ci/run installs")
    (there, requests), (answers, back) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser reads commands from the descriptor 3, and writes its answers to 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{there} 4>&{back}', "bash", BROWSER, *OPTIONS]
        options = {"pass_fds": (there, back), "stderr": subprocess.DEVNULL}
        pipe = ("--remote-debugging-pipe", f"--user-data-dir={profile}")
        browser = subprocess.Popen([*shell, *pipe], **options)
        os.close(there), os.close(back)
        with open(requests, "wb") as writer, open(answers, "rb") as reader:
            try:
                yield Page(writer, reader)
            finally:
                browser.terminate()
                browser.wait(20)
