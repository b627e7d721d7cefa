import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.group import average_images, write_group, write_voxels
from handhold.io import read_cloud, read_results, write_results

speak_plainly(snakemake.log[0])
chosen = snakemake.params
group = average_images(
    pd.DataFrame(chosen.manifest),
    chosen.contrasts,
    read_cloud(snakemake.input.parcels),
    read_results(snakemake.input.definitions[0]),
    chosen.receptor,
    **chosen.reading,
)

write_group(group, snakemake.output.images, chosen.names, chosen.facts)
write_voxels(group.voxels, snakemake.output.voxels)
write_results(group.subjects, snakemake.output.subjects[0])
