"""How exactly does the line recover what is planted in one person?

    python tests/reference/recovery.py 36    # people

simulates that many people of the cohort of tests/test_recovery.py (`planted.CLEAR`, another
seed), takes them from BOLD to attenuation by the product's functions, and writes recovery.tsv
beside this file: mean and standard deviation over people of recovered minus planted, of each
ROI's effects and attenuation and of the receptor slope. About a second per person.
"""

import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import line  # noqa: E402
import planted  # noqa: E402

SEED = 1973


def errors(n_subjects: int) -> pd.DataFrame:
    """Return the error of every person: columns measure, contrast, planted, error."""
    cohort = replace(planted.CLEAR, n_subjects=n_subjects, seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        study = line.Line.write(cohort, Path(folder))
        runs = study.runs()
        manifest = study.fit(runs, study.design(runs, study.trials(runs)))
        return planted.compare_all(study, manifest, study.read(manifest))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    table = (
        errors(int(sys.argv[1]))
        .groupby(["measure", "contrast"], sort=False)
        .agg(
            n=("error", "count"),
            planted=("planted", "mean"),
            mean_error=("error", "mean"),
            sd_error=("error", "std"),
        )
        .reset_index()
    )
    table.to_csv(HERE / "recovery.tsv", sep="\t", index=False, float_format="%.6g")
    print(table.to_string())
