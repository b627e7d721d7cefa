from snakemake.script import snakemake

from handhold import atlases
from handhold.errors import speak_plainly
from handhold.images import read_grid
from handhold.io import write_cloud, write_results

speak_plainly(snakemake.log[0])
chosen = snakemake.params
known = atlases.read_atlases(snakemake.input.atlases, chosen.data_root)
rows = atlases.read_definitions(snakemake.input.rois, chosen.definitions)
grid = read_grid(
    snakemake.input.grid, chosen.orientation, "the first image of the study"
)

rois = atlases.roi_clouds(rows, known)
parcels, table = atlases.place_parcels(
    known[chosen.parcels],
    least_volume=chosen.min_parcel_voxels * grid.voxel_volume,
    merge=chosen.tiny_parcels == "merge",
)

write_cloud(atlases.stack_rois(rois), snakemake.output.rois)
write_cloud(parcels, snakemake.output.parcels)
write_results(atlases.describe(rows, rois, table), snakemake.output.definitions[0])
write_results(atlases.overlaps(rois), snakemake.output.overlap[0])
