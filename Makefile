test:
	python -m pytest

test-all:
	python -m pytest
	python -m pytest -m slow

lint:
	ruff check .
	ruff format --check .

# A copy for another table: make yours TABLE=bikes.csv TARGET=rentals
yours:
	python -m extras.declare "$(TABLE)" "$(TARGET)" --write --copy

# Up to version 1.2, starlette lets `mlflow ui` of MLflow 3.17.2 start without deprecation warnings.
constraints:
	(grep -h == requirements*.txt tests/requirements.txt; echo "starlette<1.3") | \
	UV_CUSTOM_COMPILE_COMMAND="make constraints" uv pip compile - --upgrade --universal \
	--python-version 3.11 --no-annotate --quiet --output-file constraints.txt

.PHONY: test test-all lint yours constraints
