"""Run the cells of docs/notebook.ipynb in its folder, and print what Jupyter shows as text.

An image that a cell shows is saved in the folder of the project, under the ID of the cell.
"""

import ast
import json
import sys
from pathlib import Path

import pandas as pd


def main():
    """Run the cells one by one, as Jupyter does."""
    pd.set_option("display.max_columns", 20)  # pandas does so in Jupyter.
    names = {}
    for cell in json.loads(Path("notebook.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        statements = ast.parse(source).body
        is_shown = isinstance(statements[-1], ast.Expr) and not source.endswith(";")
        shown = ast.Expression(statements.pop().value) if is_shown else None
        exec(compile(ast.Module(statements, []), cell["id"], "exec"), names)
        value = eval(compile(shown, cell["id"], "eval"), names) if is_shown else None
        if value is not None:
            print(repr(value))
        if hasattr(value, "save"):
            value.save(f"{cell['id']}.png")
        sys.stdout.flush()  # What the trainings print comes from other processes.


if __name__ == "__main__":
    main()
