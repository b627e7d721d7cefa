from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.sensitivity import assess_sensitivity
from handhold.spec import random_stream

speak_plainly(snakemake.log[0])
chosen, given = snakemake.params, dict(snakemake.input.items())
# The streams of the primary tests, so that nothing but coverage differs.
rules = {"Q1": "test_attenuation", "Q3": "test_tracking"}

table = assess_sensitivity(
    read_results(given["rois"][0]),
    read_results(given["relief"][0]) if "relief" in given else None,
    chosen.contrasts,
    chosen.min_coverage,
    {name: read_results(given[name][0]) for name in rules if name in given},
    chosen.tests,
    chosen.verdicts,
    {name: random_stream(chosen.seed, rule) for name, rule in rules.items()},
)

write_results(table, snakemake.output[0])
