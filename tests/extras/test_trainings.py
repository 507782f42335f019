"""The scripts that train: all of them fit together, and one that does not is refused."""

import shutil
import sys

import pytest
import yaml

from extras import trainings
from helpers import ENTRY_POINTS, PROJECT, edit
from wine import UserError

FAULTS = {
    "no SEARCH": (("SEARCH = ", "SEARCHED = "), "no attribute 'SEARCH'"),
    "an argument that is no parameter": (("def build(alpha, ", "def build(beta, "), "'beta'"),
    "a distribution that does not exist": (
        ("loguniform(1e-4, 10)", "loguniform(0, 10)"),
        "(ValueError: Domain error in arguments), needed are SEARCH, build, load_split",
    ),
}


def test_list_names_the_scripts_of_mlproject():
    project = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
    assert tuple(trainings.SCRIPTS) == (*ENTRY_POINTS, "boosting")
    for entry_point, script in trainings.SCRIPTS.items():
        file = f"-m {script}" if script.startswith("extras.") else f"{script}.py"
        assert project[entry_point]["command"].startswith(f"python {file} ")
        trainings.load(entry_point)


@pytest.mark.parametrize(("change", "said"), FAULTS.values(), ids=FAULTS)
def test_script_that_does_not_fit_is_refused_in_one_line(change, said, tmp_path, monkeypatch):
    monkeypatch.setitem(trainings.SCRIPTS, "faulty", "faulty-train")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty-train", raising=False)
    shutil.copy(PROJECT / "train.py", tmp_path / "faulty-train.py")
    edit(tmp_path / "faulty-train.py", change)
    with pytest.raises(UserError, match="^faulty-train.py[^\n]*$") as raised:
        trainings.load("faulty")
    assert said in str(raised.value)


@pytest.mark.parametrize(("script", "path"), [("none", "none.py"), ("extras.no", "extras/no.py")])
def test_script_that_is_not_there_is_refused(script, path, monkeypatch):
    monkeypatch.setitem(trainings.SCRIPTS, "faulty", script)
    with pytest.raises(UserError, match=f"^{path}: no such script stands beside MLproject$"):
        trainings.load("faulty")
