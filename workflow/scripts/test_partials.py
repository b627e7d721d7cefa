import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_distances, read_results, write_results
from handhold.partials import assess_partials
from handhold.spec import random_stream

speak_plainly(snakemake.log[0])
table = assess_partials(
    read_results(snakemake.input.attenuation[0]),
    read_results(snakemake.input.parcels[0]),
    read_results(snakemake.input.receptors[0]),
    read_results(snakemake.input.grey_matter[0]),
    pd.DataFrame(snakemake.params.maps),
    tests=snakemake.params.tests,
    nulls=snakemake.params.nulls,
    null_seed=snakemake.params.null_seed,
    rng=random_stream(snakemake.params.seed, snakemake.rule),
    distances=read_distances(snakemake.input.distances),
)
write_results(table, snakemake.output[0])
