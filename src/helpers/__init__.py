"""The helpers that the notebooks import: one package per station, in the order of the notebooks."""

import warnings

# Progress is printed in lines, which logs and executed copies can hold; no widget is missed
warnings.filterwarnings("ignore", message="IProgress not found")
