"""`python -m fastpath`, which is what torchrun starts."""

from fastpath.cli.start import main

main()
