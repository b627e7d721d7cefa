from snakemake.script import snakemake

from handhold import quality
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results

speak_plainly(snakemake.log[0])
review = quality.review_runs(
    read_results(snakemake.input.runs), read_results(snakemake.input.regressors)
)

write_results(review, snakemake.output.review[0])
write_results(quality.summarise_runs(review), snakemake.output.summary[0])
