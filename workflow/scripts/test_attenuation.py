from snakemake.script import snakemake

from handhold.attenuation import assess_attenuation
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.spec import random_stream
from handhold.verdicts import judge_rows

speak_plainly(snakemake.log[0])
attenuation = read_results(snakemake.input.attenuation[0])
rng = random_stream(snakemake.params.seed, snakemake.rule)

table = assess_attenuation(
    attenuation, snakemake.params.tests, snakemake.params.verdicts, rng
)

write_results(
    judge_rows(table, "p_fwe", snakemake.params.verdicts), snakemake.output[0]
)
