from snakemake.script import snakemake

from handhold import figures
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
figure = figures.draw_coverage(
    read_results(snakemake.input.rois[0]),
    snakemake.params.min_coverage,
    definition=snakemake.params.definition,
)
figures.save(figure, snakemake.output[0].removesuffix(".svg"))
