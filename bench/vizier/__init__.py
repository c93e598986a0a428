"""How good the optimizer is: `python -m bench.vizier --help`."""
