from snakemake.script import snakemake

from handhold.calibrate import prepare
from handhold.errors import speak_plainly
from handhold.io import read_distances, read_results, write_arrays

speak_plainly(snakemake.log[0])
tables = {
    name: read_results(paths[0])
    for name, paths in snakemake.input.items()
    if name not in ("code", "distances") and paths
}

design, yardsticks = prepare(
    tables, read_distances(snakemake.input.distances), **snakemake.params
)

write_arrays(vars(design), snakemake.output.design)
write_arrays(yardsticks.target, snakemake.output.target)
write_arrays(yardsticks.of_panel, snakemake.output.panel)
