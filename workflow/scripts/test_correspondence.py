from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_distances, read_results, write_arrays, write_results
from handhold.parcels import assess_correspondence, with_descriptive
from handhold.spec import random_stream
from handhold.verdicts import judge_correspondence

speak_plainly(snakemake.log[0])
table, null_r = assess_correspondence(
    read_results(snakemake.input.attenuation[0]),
    read_results(snakemake.input.parcels[0]),
    tests=snakemake.params.tests,
    nulls=snakemake.params.nulls,
    null_seed=snakemake.params.null_seed,
    rng=random_stream(snakemake.params.seed, snakemake.rule),
    distances=read_distances(snakemake.input.distances),
)
table = with_descriptive(
    judge_correspondence(table, snakemake.params.verdicts),
    [read_results(path) for path in snakemake.input.beside],
)
write_results(table, snakemake.output.tests[0])
write_arrays(null_r, snakemake.output.nulls)
