from snakemake.script import snakemake

from handhold import coverage, quality
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results

speak_plainly(snakemake.log[0])
names = ("excluded", "rois", "parcel_cells", "definitions", "parcels", "receptors")
tables = {name: read_results(snakemake.input[name][0]) for name in names}

exclusions = coverage.list_exclusions(**tables, unrated=snakemake.params.unrated)

write_results(exclusions, snakemake.output.exclusions[0])
write_results(quality.count_exclusions(exclusions), snakemake.output.stages[0])
