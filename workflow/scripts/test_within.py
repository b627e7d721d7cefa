import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.spec import random_stream
from handhold.verdicts import judge_within
from handhold.within import assess_within

speak_plainly(snakemake.log[0])
chosen = snakemake.params

within, mediation = assess_within(
    pd.concat(map(read_results, snakemake.input.trials), ignore_index=True),
    read_results(snakemake.input.definitions[0]),
    chosen.contrasts,
    cue=chosen.cue,
    higher_is=chosen.higher_is,
    tests=chosen.tests,
    rng=random_stream(chosen.seed, snakemake.rule),
)

write_results(judge_within(within, chosen.verdicts), snakemake.output.within[0])
write_results(mediation, snakemake.output.mediation[0])
