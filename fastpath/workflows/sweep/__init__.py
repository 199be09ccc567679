"""`fastpath sweep`."""
