"""The effect and variance images of a study, as a BIDS derivatives dataset names them."""

import re

import pandas as pd

from handhold.errors import StudyError
from handhold.firstlevel import SubjectFit
from handhold.images import write_image
from handhold.io import write_json
from handhold.sources import CELL, FILES

Cell = tuple[str, str]


def image_names(
    folder: str, label: str, bids: dict, cells: list[Cell]
) -> dict[str, str]:
    """Return the images of one subject by name: `<condition>_<cue>`, with `_variance`; `tsnr`.

    Parameters
    ----------
    folder : str
        Folder of the results.
    label : str
        Label of the subject, or the wildcard of a rule.
    bids : dict
        The section `bids` of the configuration.
    cells : list of (condition, cue)

    Raises
    ------
    StudyError
        If two cells would have the same name.

    Examples
    --------
    >>> bids = {"task": "hands", "space": "MNI152NLin2009cAsym"}
    >>> image_names("out", "01", bids, [("alone", "threat")])["alone_threat"]
    'out/effects/sub-01/sub-01_task-hands_space-MNI152NLin2009cAsym_contrast-aloneThreat_stat-effect_statmap.nii.gz'
    """
    entities = [
        ("ses", "session"),
        ("task", "task"),
        ("space", "space"),
        ("res", "resolution"),
    ]
    named = [f"{short}-{bids[key]}" for short, key in entities if key in bids]
    stem = f"{folder}/effects/sub-{label}/" + "_".join([f"sub-{label}", *named])
    names = {}
    for cell in cells:
        key, contrast = "_".join(cell), _camel(*cell)
        names[key] = f"{stem}_contrast-{contrast}_stat-effect_statmap.nii.gz"
        names[f"{key}_variance"] = (
            f"{stem}_contrast-{contrast}_stat-variance_statmap.nii.gz"
        )
    if len(set(names.values())) < len(names):
        raise StudyError(
            f"The conditions {', '.join(dict.fromkeys(c for c, _ in cells))} differ in other "
            "characters than letters and digits only, so that their images would have one name. "
            "Rename them in contrasts and events.rename."
        )
    return names | {"tsnr": f"{stem}_stat-tsnr_boldmap.nii.gz"}


def image_table(
    folder: str, labels: dict[str, str], bids: dict, cells: list[Cell]
) -> pd.DataFrame:
    """Return the images of a manifest, a row per subject and cell, before they are made.

    `labels` holds the subject of each file-safe label.
    """
    rows = []
    for label, subject in labels.items():
        names = image_names(folder, label, bids, cells)
        rows += [
            {
                "subject": subject,
                "condition": condition,
                "cue": cue,
                "image": names[f"{condition}_{cue}"],
                "variance": names[f"{condition}_{cue}_variance"],
                "tsnr": names["tsnr"],
            }
            for condition, cue in cells
        ]
    return pd.DataFrame(rows).reindex(columns=[*CELL, *FILES]).astype(object)


def write_fit(fit: SubjectFit, paths: dict[str, str], choices: dict) -> None:
    """Write the images of one subject, each with a sidecar that says what it holds.

    Parameters
    ----------
    fit : SubjectFit
    paths : dict of str to str
        By name, from `image_names`.
    choices : dict
        The section `glm` of the configuration.
    """
    for (condition, cue), effect in fit.effect.items():
        key = f"{condition}_{cue}"
        cell = {"Condition": condition, "Cue": cue, **_model(choices)}
        _write(paths[key], effect, fit, {**cell, **EFFECT})
        variance = fit.variance[condition, cue]
        _write(paths[f"{key}_variance"], variance, fit, {**cell, **VARIANCE})
    _write(paths["tsnr"], fit.tsnr, fit, TSNR)


EFFECT = {
    "Description": "Effect of the cell, runs combined by precision; NaN: not measured.",
    "Units": "% signal change",
}
VARIANCE = {
    "Description": "Variance of the effect of the cell; NaN: not measured.",
    "Units": "square of % signal change",
}
TSNR = {
    "Description": "Temporal signal-to-noise ratio: mean over time / standard deviation of the "
    "residuals of the model, mean over runs; NaN: not measured.",
    "Units": "ratio",
}


def _write(path: str, values, fit: SubjectFit, sidecar: dict) -> None:
    write_image(path, values, fit.grid)
    write_json(sidecar, path.removesuffix(".nii.gz") + ".json")


def _model(choices: dict) -> dict:
    return {
        "NoiseModel": choices["noise_model"],
        "HRF": choices["hrf"],
        "PeakDuration": choices["peak_duration_s"],
        "SmoothingFWHM": choices["smoothing_mm"],
    }


def _camel(*words: str) -> str:
    """Join words as a BIDS label: letters and digits, each word but the first capitalised."""
    plain = [re.sub(r"[^A-Za-z0-9]", "", word) for word in words]
    return plain[0] + "".join(word[:1].upper() + word[1:] for word in plain[1:])
