from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_table, write_results
from handhold.ratings import relieve

speak_plainly(snakemake.log[0])
table = relieve(
    read_table(snakemake.input.ratings, "ratings.table"),
    snakemake.params.config["ratings"],
    snakemake.params.config["contrasts"],
    snakemake.params.subjects,
    excluded=snakemake.params.excluded,
    rename=snakemake.params.rename,
    source=snakemake.params.source,
)
write_results(table, snakemake.output[0])
