from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.simulate import Cohort
from handhold.simulate_bids import write_subject

speak_plainly(snakemake.log[0])
write_subject(
    Cohort(**snakemake.params.cohort),
    snakemake.wildcards.label,
    snakemake.params.folder,
)
