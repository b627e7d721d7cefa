from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results
from handhold.parcels import select_parcels

speak_plainly(snakemake.log[0])
definitions = read_results(snakemake.input.definitions[0])
table = select_parcels(
    read_results(snakemake.input.attenuation[0]),
    read_results(snakemake.input.receptors[0]),
    definitions[definitions["kind"] == "parcel"],
    target=snakemake.params.target,
    min_subjects=snakemake.params.min_subjects,
    min_parcels=snakemake.params.min_parcels,
)
write_results(table, snakemake.output[0])
