"""`fastpath compare`."""
