from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_table, write_results
from handhold.ratings import relieve, relieve_repeats

speak_plainly(snakemake.log[0])
for name, compute in (("relief", relieve), ("repeats", relieve_repeats)):
    table = compute(
        read_table(snakemake.input.ratings, "ratings.table"),
        snakemake.params.config["ratings"],
        snakemake.params.config["contrasts"],
        snakemake.params.subjects,
        excluded=snakemake.params.excluded,
        rename=snakemake.params.rename,
        source=snakemake.params.source,
    )
    write_results(table, snakemake.output[name][0])
