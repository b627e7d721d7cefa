from snakemake.script import snakemake

from handhold.attenuation import assess_interaction
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.spec import random_stream

speak_plainly(snakemake.log[0])
table = assess_interaction(
    read_results(snakemake.input.attenuation[0]),
    snakemake.params.tests,
    random_stream(snakemake.params.seed, snakemake.rule),
)
write_results(table, snakemake.output[0])
