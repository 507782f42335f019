"""What docs/make-it-yours.rst advises, done in a copy of the project."""

import re

from sklearn.datasets import load_diabetes

import pytest
import yaml
from docutils import nodes

from documents import parse
from helpers import LOCAL, client_of, copy_project, edit, run_command, run_id_in, run_successfully
from wine import dataset

pytestmark = pytest.mark.slow
RUN = ("mlflow", "run", ".", *LOCAL)


def test_another_table_with_other_columns_and_another_target(tmp_path):
    folder = copy_project(tmp_path / "diabetes")
    patients = load_diabetes(as_frame=True, scaled=False).frame
    columns = list(patients.columns[:-1])
    features = "".join(f'    "{name}",\n' for name in dataset.FEATURES)
    edit(
        folder / "wine" / "dataset.py",
        ('NOUN = "wine"', 'NOUN = "patient"'),
        ('DATA = "wine-quality.csv"', 'DATA = "diabetes.csv"'),
        (f"FEATURES = [\n{features}]", f"FEATURES = {columns}"),
        ('TARGET = "quality"', 'TARGET = "target"'),
        ('TARGET_SCALE = "from 0 to 10"', 'TARGET_SCALE = "units of the progression"'),
    )
    edit(folder / "MLproject", ("wine-quality.csv", "diabetes.csv"))
    edit(folder / "clf-train.py", ("TARGET_THRESHOLD = 7", "TARGET_THRESHOLD = 150"))
    (folder / "wine-quality.csv").unlink()
    patients.to_csv(folder / "diabetes.csv", index=False)
    patients[columns].head().astype(float).to_csv(folder / "predict.csv", index=False)

    for entry_point in ("huber", "classifier"):
        run = run_command(*RUN, "-e", entry_point, cwd=folder)
        assert run.status == 0, run.err
        assert "training patients" in run.out
        described = client_of(folder).get_run(run_id_in(run.out)).data.tags["mlflow.note.content"]
        for text in (run.out, described):
            assert "wine" not in text.lower()
    model = re.search(r"runs:/\w+/model", run.out)[0]
    predict = run_command(
        *("mlflow", "models", "predict", "-m", model, "--env-manager", "local"),
        *("-t", "csv", "-i", "predict.csv"),
        cwd=folder,
    )
    assert re.fullmatch(r'\{"predictions": \[([01], ){4}[01]\]\}', predict.out.strip())


def test_a_fourth_model(tmp_path):
    folder = copy_project(tmp_path / "wine")
    texts = {
        block["classes"][-1]: block.astext()
        for block in parse("docs/make-it-yours.rst").findall(nodes.literal_block)
    }
    run_successfully("bash", "-c", texts["bash"], cwd=folder)
    # A line without anything has lost the blank that marks it as unchanged.
    (tmp_path / "diff").write_text(re.sub(r"^$", " ", texts["diff"], flags=re.MULTILINE) + "\n")
    run_successfully("git", "apply", "-p0", tmp_path / "diff", cwd=folder)
    run_successfully("ruff", "check", "ridge-train.py", cwd=folder)
    snippet = texts["yaml"]
    project = yaml.safe_load((folder / "MLproject").read_text())
    project["entry_points"] |= yaml.safe_load(snippet)
    (folder / "MLproject").write_text(yaml.safe_dump(project))

    run = run_command(*RUN, "-e", "ridge", "-P", "alpha=2", cwd=folder)
    assert run.status == 0, run.err
    assert run.out.startswith("\nRidge: alpha=2.0, data=wine-quality.csv\n")

    edit(folder / "wine" / "trainings.py", ("SCRIPTS = {", 'SCRIPTS = {"ridge": "ridge-train", '))
    swept = run_command(*RUN, "-e", "sweep", "-P", "model=ridge", "-P", "trials=3", cwd=folder)
    assert swept.status == 0, swept.err
    assert "Best of 3 candidates" in swept.out
