import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.rates import needed_subjects, rate

speak_plainly(snakemake.log[0])
counts = pd.concat(map(read_results, snakemake.input.counts), ignore_index=True)
table = rate(counts, **snakemake.params.judged)

write_results(table, snakemake.output.rates[0])
write_results(
    needed_subjects(table, snakemake.params.power), snakemake.output.needed[0]
)
