from snakemake.script import snakemake

from handhold.calibrate import draw
from handhold.errors import speak_plainly
from handhold.io import read_distances, read_results, write_arrays

speak_plainly(snakemake.log[0])
tables = {
    name: read_results(snakemake.input[name][0]) for name in ("parcels", "receptors")
}
yardsticks = draw(
    tables, read_distances(snakemake.input.distances), **snakemake.params.surrogates
)
write_arrays(yardsticks.target, snakemake.output.target)
write_arrays(yardsticks.of_panel, snakemake.output.panel)
