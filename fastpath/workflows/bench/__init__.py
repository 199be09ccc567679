"""`fastpath bench`."""
