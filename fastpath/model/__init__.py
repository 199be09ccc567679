"""Networks that emit one logit a patch."""
