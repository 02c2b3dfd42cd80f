"""How the drawn domains' classes look, for asking whether a wrong answer is a look-alike."""

import pandas as pd

from helpers.paths import DATA

_TABLES = {"butterfly": "butterflies.csv", "culture": "culture.csv"}


def read_drawn_looks(domain: str) -> pd.DataFrame | None:
    """One row a class by its name, one column a visual part; None for a domain whose looks no table describes."""
    from helpers.synthetic.looks import VOCABULARIES

    if domain not in _TABLES:
        return None
    classes = pd.read_csv(DATA / _TABLES[domain], index_col="name", keep_default_na=False)
    return classes[list(VOCABULARIES[domain].parts)]
