from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.extract import measure_grey_matter
from handhold.io import read_cloud, write_results

speak_plainly(snakemake.log[0])
write_results(
    measure_grey_matter(read_cloud(snakemake.input.parcels)), snakemake.output[0]
)
