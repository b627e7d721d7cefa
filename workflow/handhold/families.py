"""Names of the families of nulls (`handhold.surrogates` draws them)."""

from collections.abc import Mapping

FAMILIES = {
    "moran": "Moran",
    "variogram": "variogram matching",
    "gaussian": "Gaussian field",
}


def name_family(family: str, procedure: str) -> str:
    """Name a family for the reader, Moran with its procedure.

    Examples
    --------
    >>> name_family("moran", "pair"), name_family("gaussian", "pair")
    ('Moran pair', 'Gaussian field')
    """
    return f"{FAMILIES[family]} {procedure}" if family == "moran" else FAMILIES[family]


def other_families(row: Mapping, column: str) -> dict[str, float]:
    """Return what the families of nulls that do not decide gave, by their names for the reader.

    `row` of a table of tests holds null_method (which decides) and, for each family that was
    run, `column` with the name of the family behind it.

    Examples
    --------
    >>> row = {"null_method": "Moran pair", "p_moran": 0.2, "p_gaussian": "0.1"}
    >>> other_families(row, "p")
    {'Gaussian field': 0.1}
    """
    return {
        name: float(row[f"{column}_{family}"])
        for family, name in FAMILIES.items()
        if f"{column}_{family}" in row and not row["null_method"].startswith(name)
    }
