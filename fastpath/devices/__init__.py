"""What `runtime` is made of: cards, streams, clocks, and the ranks of a run."""
