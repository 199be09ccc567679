"""`fastpath predict`."""
