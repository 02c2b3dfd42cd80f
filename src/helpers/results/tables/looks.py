"""How the drawn domains' classes look, for asking whether a wrong answer is a look-alike."""

import pandas as pd

from helpers.synthetic.looks import FACTS_TABLES, VOCABULARIES


def read_drawn_looks(domain: str) -> pd.DataFrame | None:
    """One row per class by its name, one column per visual part; None for a domain whose looks no table describes."""
    if domain not in FACTS_TABLES:
        return None
    classes = pd.read_csv(FACTS_TABLES[domain], index_col="name", keep_default_na=False)
    return classes[list(VOCABULARIES[domain].parts)]
