"""Where a table is: a path, here or beside the scripts, or the address of a web server."""

import functools
import gzip
import http.server
import socket
import threading

import pandas as pd
import pytest

from helpers import PROJECT, assert_one_line_error
from wine import UserError, dataset, files


def test_relative_path_is_found_here_before_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.locate("wine-quality.csv") == str(PROJECT / "wine-quality.csv")
    (tmp_path / "wine-quality.csv").touch()
    assert files.locate("wine-quality.csv") == str(tmp_path / "wine-quality.csv")
    assert files.locate("http://wine.example/a.csv") == "http://wine.example/a.csv"


@pytest.fixture
def website(tmp_path):
    """Return the URL of a web server over this test's folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_training_is_the_same_whatever_the_file_and_the_address(run_script, new_store, website):
    wines = pd.read_csv(PROJECT / "wine-quality.csv").head(500)
    wines.to_csv(new_store / "plain.csv", index=False)
    text = (new_store / "plain.csv").read_text()
    (new_store / "excel.csv").write_text(text, encoding="utf-8-sig")
    (new_store / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    wines.to_parquet(new_store / "wines.parquet")
    wines.iloc[:, ::-1].assign(colour="white").to_csv(new_store / "turned.csv", index=False)
    printed = set()
    tables = ["plain.csv", "excel.csv", "packed.csv.gz", "turned.csv", "wines.parquet"]
    tables.append((new_store / "plain.csv").as_uri())
    for data in (*tables, *(f"{website}/{name}" for name in ("packed.csv.gz", "wines.parquet"))):
        result = run_script("train.py", 0.5, 0.1, data)
        assert result.status == 0, result.err
        assert "Warning" not in result.err
        printed.add(result.out.split("runs:/")[0].replace(data, "TABLE"))
    assert len(printed) == 1


def test_table_that_a_website_does_not_have_is_refused(run_script, website):
    result = run_script("train.py", 1, 0.1, f"{website}/none.csv")
    last = result._replace(err=result.err.splitlines()[-1] + "\n")  # the web server logs, too
    assert_one_line_error(last, "data: ", "404", status=1)


class Unsized(http.server.BaseHTTPRequestHandler):
    """Send a part of the wines, and close the connection as if this was all."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"\n".join((PROJECT / "wine-quality.csv").read_bytes().split(b"\n")[:400]))


def test_rows_of_a_server_that_does_not_say_how_many_are_counted(run_script, new_store):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unsized)
    threading.Thread(target=server.serve_forever).start()
    url = f"http://127.0.0.1:{server.server_port}/wines.csv"
    result = run_script("train.py", 1, 0.1, url)
    server.shutdown()
    server.server_close()
    assert result.status == 0, result.err
    assert f"data: 399 wines read; {url} did not say how long it is\n" in result.err


def test_web_server_that_stalls_is_refused(monkeypatch):
    monkeypatch.setattr(files, "DOWNLOAD_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/wines.csv"
        with pytest.raises(UserError, match=r"^data: .* cannot be read: .*timed out"):
            dataset.load(url)
