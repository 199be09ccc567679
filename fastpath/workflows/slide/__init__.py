"""`fastpath slide`."""
