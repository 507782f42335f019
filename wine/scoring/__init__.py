"""Scoring of tables of any size: `engine` scores one file, and Spark runs it over many."""
