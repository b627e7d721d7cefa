from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_arrays, write_results
from handhold.registration import check_registration

speak_plainly(snakemake.log[0])
table, planes = check_registration(
    read_results(snakemake.input.manifest[0]),
    analyze_orientation=snakemake.params.orientation,
    zero_is_missing=snakemake.params.zero_is_missing,
)

write_results(table, snakemake.output.table[0])
write_arrays(planes, snakemake.output.planes)
