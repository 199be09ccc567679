"""One script a contestant, run in a process (and where needed an environment) of its own."""
