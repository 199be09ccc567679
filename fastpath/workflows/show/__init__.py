"""`fastpath show`."""
