"""`fastpath verify`."""
