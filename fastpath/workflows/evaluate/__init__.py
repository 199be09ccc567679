"""`fastpath evaluate`."""
