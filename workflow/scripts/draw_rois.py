from snakemake.script import snakemake

from handhold import drawing, figures
from handhold.errors import speak_plainly
from handhold.io import read_cloud, read_results
from handhold.regions import pick

speak_plainly(snakemake.log[0])
cloud = read_cloud(snakemake.input.rois)
rows = drawing.select_rois(
    read_results(snakemake.input.definitions[0]), snakemake.params.definition
)
points = {
    row.region: pick(cloud, f"{row.definition}/{row.region}").points
    for row in rows.itertuples()
}

drawing.save(figures.draw_rois(points), snakemake.output[0].removesuffix(".svg"))
