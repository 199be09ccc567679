"""The DALI graph."""
