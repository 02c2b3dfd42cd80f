"""The helpers that the notebooks import: one package per station, in the order of the notebooks."""
