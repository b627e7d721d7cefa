from snakemake.script import snakemake

from handhold.attenuation import attenuate_repeats
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.reliability import REGION, assess_reliability

speak_plainly(snakemake.log[0])
effects = read_results(snakemake.input.rois[0])
table = assess_reliability(
    attenuate_repeats(effects, snakemake.params.contrasts, REGION),
    read_results(snakemake.input.relief[0]),
    snakemake.params.level,
)
write_results(table, snakemake.output[0])
