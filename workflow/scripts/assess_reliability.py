import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.reliability import assess_reliability, halve_ratings, repeat_attenuation

speak_plainly(snakemake.log[0])
chosen, basis = snakemake.params, snakemake.params.basis
effects = pd.concat(map(read_results, snakemake.input.effects), ignore_index=True)
definitions = read_results(snakemake.input.definitions[0])
repeats = (chosen.contrasts, basis["attenuation"], chosen.min_coverage)

table = assess_reliability(
    repeat_attenuation(effects, definitions, *repeats),
    halve_ratings(effects, chosen.contrasts, **chosen.rated)
    if basis["relief"] == "trials"
    else read_results(snakemake.input.relief[0]),
    chosen.level,
    basis,
)

write_results(table, snakemake.output[0])
