"""`fastpath mine`."""
