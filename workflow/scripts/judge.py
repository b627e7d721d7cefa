from snakemake.script import snakemake

from handhold import verdicts
from handhold.errors import speak_plainly
from handhold.io import read_results, write_json

speak_plainly(snakemake.log[0])
asked = {
    name: read_results(path)
    for name, path in snakemake.input.items()
    if name in verdicts.QUESTIONS
}
beside = {
    name: read_results(snakemake.input[name][0])
    for name in ("sensitivity", "interaction")
}

write_json(
    verdicts.answer(asked, **beside, **snakemake.params.study), snakemake.output[0]
)
