from snakemake.script import snakemake

from handhold import drawing, figures_calibration
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
chosen = snakemake.params
table = read_results(snakemake.input.rates[0])
needed = read_results(snakemake.input.needed[0])

rates = figures_calibration.draw_rates(table, chosen.n_subjects, chosen.alpha)
power = figures_calibration.draw_power(table, needed, chosen.n_subjects)
drawing.save(rates, snakemake.output.rates[0].removesuffix(".svg"))
drawing.save(power, snakemake.output.power[0].removesuffix(".svg"))
