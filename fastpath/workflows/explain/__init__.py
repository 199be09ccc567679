"""`fastpath explain`."""
