from snakemake.script import snakemake

from handhold import drawing, figures_quality
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
figure = figures_quality.draw_runs(
    read_results(snakemake.input.review[0]), snakemake.params.limits
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
