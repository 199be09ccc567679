"""One module a measurement; each writes a record."""
