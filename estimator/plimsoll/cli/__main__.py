"""`python -m plimsoll.cli` is `plimsoll`; it must not do anything else."""

from plimsoll.cli import main

main()
