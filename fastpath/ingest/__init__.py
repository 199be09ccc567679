"""From files to records, pixels and splits."""
