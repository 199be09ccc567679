"""Measurements of fastpath against what a user would pick instead. Run with `python -m benchmarks.suites.NAME`."""
