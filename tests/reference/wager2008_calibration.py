"""Keep what README.md says of the calibration of the reanalysis.

    snakemake --cores all --configfile config/wager2008.yaml -- calibrate
    python tests/reference/wager2008_calibration.py results/wager2008

wager2008_calibration.tsv: of calibration.tsv all rows of the study's own 30 people, and of other
numbers of people what the numbers needed follow from (the verdict supported in the world
`follows`); rates and bounds to four digits. wager2008_sample_size.tsv: sample_size.tsv. The world
`baselines` is not in it: the ratings of this study are relief itself.
"""

import sys
from pathlib import Path

from handhold.io import read_results

HERE, N_SUBJECTS = Path(__file__).parent, 30

if __name__ == "__main__":
    results = Path(sys.argv[1])
    table = read_results(results / "calibration.tsv")
    curve = (table["world"] == "follows") & (table["test"] == "supported")
    kept = {
        "calibration": table[curve | (table["n_subjects"] == N_SUBJECTS)],
        "sample_size": read_results(results / "sample_size.tsv"),
    }
    for name, content in kept.items():
        content.round(4).to_csv(
            HERE / f"wager2008_{name}.tsv", sep="\t", index=False, lineterminator="\n"
        )
