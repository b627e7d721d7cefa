from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.rois import assess_rois
from handhold.spec import random_stream

speak_plainly(snakemake.log[0])
table = assess_rois(
    read_results(snakemake.input.attenuation[0]),
    read_results(snakemake.input.receptors[0]),
    target=snakemake.params.target,
    n_permutations=snakemake.params.n_permutations,
    rng=random_stream(snakemake.params.seed, snakemake.rule),
)
write_results(table, snakemake.output[0])
