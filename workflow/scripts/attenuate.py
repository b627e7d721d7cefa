from snakemake.script import snakemake

from handhold.attenuation import attenuate
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results

speak_plainly(snakemake.log[0])
KEYS = {
    "rois": ["definition", "region", "hemisphere", "role"],
    "parcels": ["region", "structure"],
}
for kind, keys in KEYS.items():
    effects = read_results(snakemake.input[kind][0])
    table = attenuate(effects, snakemake.params.contrasts, keys)
    write_results(table, snakemake.output[kind][0])
