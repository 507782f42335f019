"""The output of a scoring appears when it is complete, and nothing that must stay is replaced."""

import os
from pathlib import Path

import pytest

from helpers import assert_one_line_error
from tables import COLUMNS, MEASURED, read, write
from wine import UserError
from wine.scoring import output

KINDS = pytest.mark.parametrize("kind", ["file", "folder"])


def make(path, kind, text):
    """Make a file, or a folder with a file."""
    if kind == "folder":
        os.mkdir(path)
        path = f"{path}/part-00000.csv"
    with open(path, "w") as file:
        file.write(text)


def text_of(path):
    path = f"{path}/part-00000.csv" if os.path.isdir(path) else path
    with open(path) as file:
        return file.read()


@pytest.fixture
def location(tmp_path):
    return str(tmp_path / "scored.csv")


@KINDS
@pytest.mark.parametrize("before", [None, "file", "folder"])
def test_output_and_rejects_get_their_names(kind, before, location, tmp_path):
    if before:
        make(location, before, "before")
        make(location + output.REJECTED, before, "before")
    if (kind, before) == ("file", "folder"):
        with pytest.raises(UserError, match="is a folder, allowed is the name of a file"):
            output.resolve(location, "wines.csv", overwrite=True)
        return
    with output.partials(location) as (scored, rejected):
        make(scored, kind, "scored")
        make(rejected, kind, "rejected")
        output.publish(scored, rejected, location, overwrite=bool(before))
    assert text_of(location) == "scored"
    assert text_of(location + output.REJECTED) == "rejected"
    assert len(os.listdir(tmp_path)) == 2


@KINDS
def test_rejects_of_an_earlier_scoring_go(kind, location, tmp_path):
    make(location, kind, "before")
    make(location + output.REJECTED, kind, "before")
    with output.partials(location) as (scored, _):
        make(scored, kind, "scored")
        output.publish(scored, None, location, overwrite=True)
    assert (text_of(location), os.listdir(tmp_path)) == ("scored", ["scored.csv"])


@KINDS
@pytest.mark.parametrize("appeared", ["file", "folder"])
@pytest.mark.parametrize("behind", ["", output.REJECTED])
def test_what_appears_meanwhile_stays(kind, appeared, behind, location, tmp_path):
    with output.partials(location) as (scored, rejected):
        make(scored, kind, "scored")
        make(rejected, kind, "rejected")
        make(location + behind, appeared, "mine")
        with pytest.raises(UserError, match="is there already; overwrite=true replaces it"):
            output.publish(scored, rejected, location, overwrite=False)
    assert text_of(location + behind) == "mine"
    assert len(os.listdir(tmp_path)) == 1


def test_output_of_before_comes_back_where_the_new_one_cannot_be_moved(
    location, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError("no space")

    make(location, "folder", "before")
    with output.partials(location) as (scored, _):
        make(scored, "folder", "scored")
        monkeypatch.setattr(output.os, "rename", fail)
        with pytest.raises(OSError, match="no space"):
            output.publish(scored, None, location, overwrite=True)
    assert (text_of(location), os.listdir(tmp_path)) == ("before", ["scored.csv"])


def test_partial_names_differ_in_processes_of_the_same_number(location):
    with output.partials(location) as one, output.partials(location) as other:
        assert len({*one, *other}) == 4
        assert all(os.path.basename(name).startswith(".scored.csv") for name in (*one, *other))


def test_rejects_never_replace_the_input(score, model_uris):
    write("out.csv.rejected.csv", [["dry"] * 11])
    for overwrite in ("false", "true"):
        result = score(model_uris["main"], "out.csv.rejected.csv", "out.csv", overwrite)
        assert_one_line_error(result, "output: ", "out.csv.rejected.csv is the input", status=1)
    assert read("out.csv.rejected.csv") == (COLUMNS, [["dry"] * 11])


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_output_that_is_a_link_to_the_input_is_refused(score, model_uris, link):
    write("wines.csv", MEASURED[:3])
    link("wines.csv", "scored.csv")
    result = score(model_uris["main"], "wines.csv", "scored.csv", "true")
    assert_one_line_error(result, "output: ", "is the input", status=1)
    assert read("wines.csv") == (COLUMNS, MEASURED[:3])


def test_rejects_that_are_there_are_not_replaced(score, model_uris):
    write("wines.csv", MEASURED[:3])
    Path("scored.csv.rejected.csv").write_text("mine")
    result = score(model_uris["main"], "wines.csv", "scored.csv")
    assert_one_line_error(result, "scored.csv.rejected.csv is there already", status=1)
    assert Path("scored.csv.rejected.csv").read_text() == "mine"
    assert not Path("scored.csv").exists()


def test_output_that_is_a_link_to_itself_is_refused(score, model_uris):
    write("wines.csv", MEASURED[:3])
    os.symlink("loop.csv", "loop.csv")
    result = score(model_uris["main"], "wines.csv", "loop.csv", "true")
    assert_one_line_error(result, "output: received 'loop.csv'", status=1)
