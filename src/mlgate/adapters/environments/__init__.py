"""Runtime environments: the catalogue's entries, built by uv from locks into directories that models share."""
