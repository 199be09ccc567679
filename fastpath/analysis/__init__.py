"""Pure functions on tables of (id, group, label, logit)."""
