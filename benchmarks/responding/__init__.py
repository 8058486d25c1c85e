"""Faults, scenarios, drills, runbooks: put together by ``benchmarks/respond.py``."""
