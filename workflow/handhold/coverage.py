"""Coverage: a mean over a remnant of a region is not that region's mean."""

import pandas as pd

from handhold.errors import StudyError


def gate(cells: pd.DataFrame, min_coverage: float) -> pd.DataFrame:
    """Mark the cells whose region is covered too little; they count as missing from here on.

    Parameters
    ----------
    cells : DataFrame
        With column coverage (0 to 1).
    min_coverage : float
        Least share of the region's volume.

    Returns
    -------
    DataFrame
        The cells with the column excluded.
    """
    return cells.assign(excluded=~(cells["coverage"] >= min_coverage))


def require_rois(cells: pd.DataFrame, min_coverage: float) -> None:
    """Refuse ROIs that no subject covers: they lie outside the field of view.

    Raises
    ------
    StudyError
        With the best coverage of each.
    """
    best = cells.groupby(["definition", "region"], sort=False)["coverage"].max()
    lost = best[best < min_coverage]
    if len(lost):
        listed = "; ".join(
            f"{d}/{r}: at most {share:.0%}" for (d, r), share in lost.items()
        )
        raise StudyError(
            f"{len(lost)} ROIs lie outside the field of view of every subject ({listed}; "
            f"regions.min_coverage asks for {min_coverage:.0%}). Images in another space than MNI, "
            "or cut to a slab, are the usual cause: compare them with the MNI template, or choose "
            "a definition without these ROIs in regions.definitions."
        )


def list_exclusions(
    excluded: pd.DataFrame,
    rois: pd.DataFrame,
    parcel_cells: pd.DataFrame,
    definitions: pd.DataFrame,
    parcels: pd.DataFrame,
    receptors: pd.DataFrame,
    unrated: list[str],
) -> pd.DataFrame:
    """Count everything that was left out anywhere, with stage and reason.

    Parameters
    ----------
    excluded : DataFrame
        Subjects left out of the manifest: subject, what, n, reason.
    rois, parcel_cells : DataFrame
        Gated cells; a row per subject and ROI, and one per subject for all parcels.
    definitions : DataFrame
        Regions with their status; parcels dropped or merged.
    parcels : DataFrame
        Parcels of the correspondence with `used` and reason, per contrast.
    receptors : DataFrame
        Binding of every map; a parcel that one of them lacks is left out of the panel.
    unrated : list of str
        Contrasts without ratings, where others have some: Q3 and Q4 leave them out.

    Returns
    -------
    DataFrame
        Columns stage, what, subject, definition, region, contrast, n, reason.
    """
    people = excluded.assign(stage="manifest")
    of_roi = (
        rois[rois["excluded"]]
        .groupby(["subject", "definition", "region"], sort=False)
        .agg(n=("coverage", "size"), lowest=("coverage", "min"))
        .reset_index()
    )
    of_roi = of_roi.assign(
        stage="coverage",
        what="ROI cell",
        reason=[f"covered to {share:.2f}" for share in of_roi["lowest"]],
    )
    of_parcels = (
        parcel_cells[parcel_cells["excluded"]]
        .groupby("subject", sort=False)
        .agg(n=("coverage", "size"), regions=("region", "nunique"))
        .reset_index()
    )
    of_parcels = of_parcels.assign(
        stage="coverage",
        what="parcel cell",
        reason=[f"{n} parcels covered too little" for n in of_parcels["regions"]],
    )
    tiny = definitions[definitions["status"] != "kept"]
    tiny = tiny.assign(stage="definition", what="parcel", n=1, reason=tiny["status"])
    unused = parcels[~parcels["used"]].assign(
        stage="correspondence", what="parcel", n=1
    )
    panel = _outside_panel(parcels, receptors)
    silent = pd.DataFrame({"contrast": unrated, "n": 1}).assign(
        stage="ratings", what="contrast", reason="no ratings"
    )
    columns = [
        "stage",
        "what",
        "subject",
        "definition",
        "region",
        "contrast",
        "n",
        "reason",
    ]
    pieces = [
        piece.reindex(columns=columns)
        for piece in (people, of_roi, of_parcels, tiny, unused, panel, silent)
    ]
    pieces = [piece.astype(object) for piece in pieces if len(piece)]
    if not pieces:
        return pd.DataFrame(columns=columns)
    return pd.concat(pieces, ignore_index=True)


def _outside_panel(parcels: pd.DataFrame, receptors: pd.DataFrame) -> pd.DataFrame:
    """List the parcels of the correspondence that some map of the panel does not cover."""
    lacking = (
        receptors[receptors["binding"].isna()]
        .groupby("region", sort=False)["receptor"]
        .agg(", ".join)
    )
    used = parcels[parcels["used"] & parcels["region"].isin(lacking.index)]
    return used.assign(
        stage="specificity",
        what="parcel",
        n=1,
        reason="not covered by " + used["region"].map(lacking),
    )
