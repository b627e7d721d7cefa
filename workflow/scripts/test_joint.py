import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_distances, read_results, write_results
from handhold.partials import assess_joint

speak_plainly(snakemake.log[0])
table = assess_joint(
    read_results(snakemake.input.parcels[0]),
    read_results(snakemake.input.receptors[0]),
    pd.DataFrame(snakemake.params.maps),
    dominance=snakemake.params.dominance,
    level=snakemake.params.level,
    nulls=snakemake.params.nulls,
    null_seed=snakemake.params.null_seed,
    distances=read_distances(snakemake.input.distances),
)
write_results(table, snakemake.output[0])
