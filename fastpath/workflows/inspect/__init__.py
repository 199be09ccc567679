"""`fastpath inspect`."""
