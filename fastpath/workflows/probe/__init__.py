"""`fastpath probe`: heads on features."""
