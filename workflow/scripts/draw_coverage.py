from snakemake.script import snakemake

from handhold import drawing, figures_quality
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
figure = figures_quality.draw_coverage(
    read_results(snakemake.input.rois[0]),
    snakemake.params.min_coverage,
    definition=snakemake.params.definition,
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
