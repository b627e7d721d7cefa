from pathlib import Path

from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.simulate import cohort_of
from handhold.simulate_bids import write_subject

speak_plainly(snakemake.log[0])
chosen = snakemake.params
write_subject(
    cohort_of(chosen.cohort, chosen.seed), chosen.index, Path(snakemake.input[0]).parent
)
