from snakemake.script import snakemake

from handhold import drawing, figures_quality
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
given = dict(snakemake.input.items())
figure = figures_quality.draw_cells(
    read_results(given["images"][0]),
    read_results(given["relief"][0]) if "relief" in given else None,
    read_results(given["excluded"][0]),
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
