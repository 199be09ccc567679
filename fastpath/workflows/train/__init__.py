"""`fastpath train`."""
