"""`python -m fastpath`, which is what torchrun starts."""

from fastpath.cli.main import main

main()
