import numpy as np
import pandas as pd
import pytest

from handhold.coverage import gate, list_exclusions, require_rois
from handhold.errors import StudyError


def test_the_least_coverage_is_enough_and_no_less():
    cells = pd.DataFrame({"coverage": [1.0, 0.8, np.nextafter(0.8, 0), 0.0, np.nan]})
    gated = gate(cells, 0.8)
    assert gated["excluded"].tolist() == [False, False, True, True, True]
    assert list(cells) == ["coverage"]


def rois(coverage):
    return pd.DataFrame(
        [
            {"subject": subject, "definition": d, "region": r, "coverage": share}
            for (d, r), shares in coverage.items()
            for subject, share in zip(("01", "02"), shares, strict=True)
        ]
    )


def test_rois_that_nobody_covers_are_refused_by_name():
    cells = rois(
        {
            ("aal3", "vACC"): [0.1, 0.79],
            ("aal3", "insula"): [0.0, 0.8],
            ("other", "vACC"): [0.0, 0.0],
        }
    )
    with pytest.raises(StudyError, match=r"^2 ROIs") as caught:
        require_rois(cells, 0.8)
    assert "aal3/vACC: at most 79%; other/vACC: at most 0%" in str(caught.value)
    assert "insula" not in str(caught.value)
    assert "regions.min_coverage asks for 80%" in str(caught.value)
    require_rois(cells[cells["region"] == "insula"], 0.8)


EXCLUDED = pd.DataFrame(
    {
        "subject": ["09"],
        "what": ["subject"],
        "n": [4],
        "reason": ["moved (column drop)"],
    }
)
ROIS = pd.DataFrame(
    {
        "subject": ["01", "01", "01", "02"],
        "definition": ["aal3"] * 4,
        "region": ["vACC", "vACC", "insula", "vACC"],
        "coverage": [0.2, 0.123, 0.3, 0.9],
        "excluded": [True, True, True, False],
    }
)
PARCEL_CELLS = pd.DataFrame(
    {
        "subject": ["01", "01", "01", "02"],
        "region": ["p1", "p1", "p2", "p1"],
        "coverage": [0.1, 0.1, 0.5, 1.0],
        "excluded": [True, True, True, False],
    }
)
DEFINITIONS = pd.DataFrame(
    {"region": ["p1", "p2", "tiny"], "status": ["kept", "kept", "dropped"]}
)
PARCELS = pd.DataFrame(
    {
        "contrast": ["partner"] * 3,
        "region": ["p1", "p2", "p3"],
        "used": [True, True, False],
        "reason": [None, None, "covered in too few subjects"],
    }
)
RECEPTORS = pd.DataFrame(
    {
        "receptor": ["mu", "kappa", "d1"] * 3,
        "region": ["p1"] * 3 + ["p2"] * 3 + ["p3"] * 3,
        "binding": [1.0, 1.0, 1.0, 1.0, np.nan, np.nan, 1.0, np.nan, 1.0],
    }
)


def test_everything_left_out_is_counted_once():
    found = list_exclusions(
        EXCLUDED, ROIS, PARCEL_CELLS, DEFINITIONS, PARCELS, RECEPTORS, ["stranger"]
    )
    rows = found.astype(object).where(found.notna(), None).to_numpy().tolist()
    assert list(found) == [
        "stage",
        "what",
        "subject",
        "definition",
        "region",
        "contrast",
        "n",
        "reason",
    ]
    # fmt: off
    assert rows == [
        ["manifest", "subject", "09", None, None, None, 4, "moved (column drop)"],
        ["coverage", "ROI cell", "01", "aal3", "vACC", None, 2, "covered to 0.12"],
        ["coverage", "ROI cell", "01", "aal3", "insula", None, 1, "covered to 0.30"],
        ["coverage", "parcel cell", "01", None, None, None, 3, "2 parcels covered too little"],
        ["definition", "parcel", None, None, "tiny", None, 1, "dropped"],
        ["correspondence", "parcel", None, None, "p3", "partner", 1, "covered in too few subjects"],
        ["specificity", "parcel", None, None, "p2", "partner", 1, "not covered by kappa, d1"],
        ["ratings", "contrast", None, None, None, "stranger", 1, "no ratings"],
    ]
    # fmt: on


def test_nothing_left_out_is_a_table_of_no_rows():
    found = list_exclusions(
        EXCLUDED.iloc[:0],
        ROIS.assign(excluded=False),
        PARCEL_CELLS.assign(excluded=False),
        DEFINITIONS.iloc[:2],
        PARCELS.iloc[:2],
        RECEPTORS.assign(binding=1.0),
        [],
    )
    assert found.empty
    assert "reason" in found
