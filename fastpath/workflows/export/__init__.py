"""`fastpath export`."""
