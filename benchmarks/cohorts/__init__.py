"""Simulated cohorts with known effects, for benchmarks/studies.py."""
