"""The effect and variance images of a study, as a BIDS derivatives dataset names them."""

import re

import pandas as pd

from handhold.errors import StudyError
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


def group_names(folder: str, contrasts: list[dict]) -> dict[str, str]:
    """Return the image of the mean attenuation by contrast.

    Raises
    ------
    StudyError
        If two contrasts would have the same name.

    Examples
    --------
    >>> group_names("out", [{"name": "partner_over_stranger"}])
    {'partner_over_stranger': 'out/group/contrast-partnerOverStranger_stat-effect_statmap.nii.gz'}
    """
    names = {
        contrast["name"]: f"{folder}/group/contrast-"
        f"{_camel(*contrast['name'].split('_'))}_stat-effect_statmap.nii.gz"
        for contrast in contrasts
    }
    if len(set(names.values())) < len(names):
        raise StudyError(
            f"The contrasts {', '.join(names)} differ in other characters than letters and "
            "digits only, so that their images would have one name. Rename them in contrasts."
        )
    return names


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


def _camel(*words: str) -> str:
    """Join words as a BIDS label: letters and digits, each word but the first capitalised."""
    plain = [re.sub(r"[^A-Za-z0-9]", "", word) for word in words]
    return plain[0] + "".join(word[:1].upper() + word[1:] for word in plain[1:])
