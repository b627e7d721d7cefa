from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.parcels import couple_subjects

speak_plainly(snakemake.log[0])
table = couple_subjects(
    read_results(snakemake.input.attenuation[0]),
    read_results(snakemake.input.parcels[0]),
    method=snakemake.params.method,
)
write_results(table, snakemake.output[0])
