"""How fast decisions are, next to what they could be at best and to other engines: `python -m bench.authz`."""
