import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_distances, read_results, write_results
from handhold.parcels import assess_specificity
from handhold.verdicts import judge_rows

speak_plainly(snakemake.log[0])
table = assess_specificity(
    read_results(snakemake.input.parcels[0]),
    read_results(snakemake.input.receptors[0]),
    pd.DataFrame(snakemake.params.maps),
    level=snakemake.params.level,
    nulls=snakemake.params.nulls,
    null_seed=snakemake.params.null_seed,
    distances=read_distances(snakemake.input.distances),
)
write_results(
    judge_rows(table, "p_fwe", snakemake.params.verdicts), snakemake.output[0]
)
