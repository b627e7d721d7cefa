from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.spec import random_stream
from handhold.tracking import assess_coupling
from handhold.verdicts import judge_tracking

speak_plainly(snakemake.log[0])
table = assess_coupling(
    read_results(snakemake.input.coupling[0]),
    read_results(snakemake.input.relief[0]),
    snakemake.params.tests,
    snakemake.params.verdicts,
    random_stream(snakemake.params.seed, snakemake.rule),
    read_results(snakemake.input.reliability[0]),
)
write_results(judge_tracking(table, snakemake.params.verdicts), snakemake.output[0])
