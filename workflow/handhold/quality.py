"""How good the runs are, in the tables that the report shows: one row per run, one for all."""

import pandas as pd

LABELS = ["subject", "session", "run"]
# The worst cell of a run speaks for it.
WORST = {
    "vif": "largest_vif",
    "r_motion": "largest_r_motion",
    "high_pass_loss": "largest_high_pass_loss",
}


def review_runs(runs: pd.DataFrame, regressors: pd.DataFrame) -> pd.DataFrame:
    """Put the worst cell of each run, and all its warnings, beside the run.

    Parameters
    ----------
    runs : DataFrame
        qc/runs.tsv, a row per run.
    regressors : DataFrame
        qc/regressors.tsv, a row per cell of each run.

    Returns
    -------
    DataFrame
        Columns and rows of `runs`, with largest_vif, largest_r_motion (without its sign) and
        largest_high_pass_loss over the run's cells. `warnings` are those of the run and, after
        its name, of each cell.

    Examples
    --------
    >>> run = {"subject": "01", "session": None, "run": "1"}
    >>> runs = pd.DataFrame([run | {"df": 90, "warnings": None}])
    >>> numbers = {"vif": 6.0, "r_motion": -0.2, "high_pass_loss": 0.1}
    >>> cell = {"regressor": "alone_threat", **numbers, "warnings": "VIF 6.0 > 5"}
    >>> review = review_runs(runs, pd.DataFrame([run | cell]))
    >>> review[["largest_r_motion", "warnings"]].to_numpy().tolist()
    [[0.2, 'alone_threat: VIF 6.0 > 5']]
    """
    cells = regressors.assign(r_motion=regressors["r_motion"].abs())
    worst = cells.groupby(_names(cells))[list(WORST)].max().rename(columns=WORST)
    warned = regressors[regressors["warnings"].notna()]
    said = {
        name: [f"{row.regressor}: {row.warnings}" for row in rows.itertuples()]
        for name, rows in warned.groupby(_names(warned))
    }
    names = _names(runs)
    words = [
        ". ".join([*([] if pd.isna(own) else [own]), *said.get(name, [])]) or None
        for name, own in zip(names, runs["warnings"], strict=True)
    ]
    return pd.concat(
        [
            runs.drop(columns="warnings"),
            worst.reindex(names).set_index(runs.index),
            pd.Series(words, runs.index, dtype=object, name="warnings"),
        ],
        axis=1,
    )


def summarise_runs(review: pd.DataFrame) -> pd.DataFrame:
    """Count the runs of a study, their volumes and what is left of them.

    Parameters
    ----------
    review : DataFrame
        What `review_runs` returns.

    Returns
    -------
    DataFrame
        One row: n_subjects, n_runs, total_volumes, total_censored, share_censored (of all
        volumes), highest_censored (share, of one run), average_fd (mm; mean over runs), df_low
        and df_high (of the runs), n_warned (runs).
    """
    n_volumes, n_censored = review[["n_volumes", "n_censored"]].sum()
    return pd.DataFrame(
        {
            "n_subjects": [review["subject"].nunique()],
            "n_runs": len(review),
            "total_volumes": n_volumes,
            "total_censored": n_censored,
            "share_censored": n_censored / n_volumes,
            "highest_censored": review["censored"].max(),
            "average_fd": review["mean_fd"].mean(),
            "df_low": review["df"].min(),
            "df_high": review["df"].max(),
            "n_warned": review["warnings"].notna().sum(),
        }
    )


def count_exclusions(exclusions: pd.DataFrame) -> pd.DataFrame:
    """Count by stage what was excluded.

    Parameters
    ----------
    exclusions : DataFrame
        What `coverage.list_exclusions` returns.

    Returns
    -------
    DataFrame
        A row per stage, what, definition and contrast, in the order of `exclusions`:
        n_subjects (missing where it is not about people) and n, the sum of theirs.
    """
    keys = ["stage", "what", "definition", "contrast"]
    counted = exclusions.groupby(keys, sort=False, dropna=False, as_index=False).agg(
        n_subjects=("subject", "nunique"), n=("n", "sum")
    )
    n_subjects = counted["n_subjects"].astype("Int64")
    return counted.assign(n_subjects=n_subjects.mask(n_subjects == 0))


def _names(table: pd.DataFrame) -> pd.Series:
    """Name the run of each row by one text; a missing label is none, whatever its type."""
    rows = table[LABELS].itertuples(index=False, name=None)
    names = [repr(["" if pd.isna(v) else str(v) for v in row]) for row in rows]
    return pd.Series(names, table.index, dtype=object)
