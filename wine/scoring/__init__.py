"""Scoring of tables of any size: `scorer` has the contract, `local` and `spark` the engines."""
