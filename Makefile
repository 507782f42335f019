test:
	python -m pytest

test-all:
	python -m pytest
	python -m pytest -m slow

lint:
	ruff check .
	ruff format --check .

bench:
	python -m benchmarks.run all

.PHONY: test test-all lint bench
