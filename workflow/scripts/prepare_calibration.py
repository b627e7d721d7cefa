from snakemake.script import snakemake

from handhold.calibrate import describe
from handhold.errors import speak_plainly
from handhold.io import read_results, write_arrays

speak_plainly(snakemake.log[0])
tables = {
    name: read_results(paths[0]) for name, paths in snakemake.input.items() if paths
}
write_arrays(vars(describe(tables, **snakemake.params.kept)), snakemake.output[0])
