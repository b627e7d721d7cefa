from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.group import read_voxels
from handhold.io import read_results, write_results
from handhold.spec import random_stream
from handhold.voxels import judge_voxels

speak_plainly(snakemake.log[0])
table = judge_voxels(
    read_voxels(snakemake.input.voxels, snakemake.params.contrasts),
    read_results(snakemake.input.subjects[0]),
    n_nulls=snakemake.params.n_nulls,
    method=snakemake.params.method,
    tests=snakemake.params.tests,
    null_seed=snakemake.params.null_seed,
    rng=random_stream(snakemake.params.seed, snakemake.rule),
)
write_results(table, snakemake.output[0])
