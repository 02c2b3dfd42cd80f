"""How a model is asked and how its answers are read (notebooks 04, 05 and 12)."""
