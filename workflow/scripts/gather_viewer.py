from snakemake.script import snakemake

from handhold import brain, drawing, viewer
from handhold.errors import speak_plainly
from handhold.io import read_cloud, read_results

speak_plainly(snakemake.log[0])
chosen = snakemake.params
definitions = read_results(snakemake.input.definitions[0])
rois = drawing.select_rois(
    definitions[definitions["kind"] == "roi"], chosen.words["definition"]
)

view = brain.gather(
    chosen.images,
    chosen.receptor,
    read_cloud(snakemake.input.rois),
    {
        f"{row['definition']}/{row['region']}": drawing.roi_name(row)
        for row in rois.to_dict("records")
    },
    words=chosen.words,
    **chosen.reading,
)

viewer.write_view(view, snakemake.output.view)
