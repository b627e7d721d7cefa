import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import write_results

speak_plainly(snakemake.log[0])
images = pd.DataFrame(snakemake.params.images)
images = images.rename(columns={"variance": "variance_image", "tsnr": "tsnr_image"})
write_results(images, snakemake.output.images[0])
write_results(pd.DataFrame(snakemake.params.runs), snakemake.output.runs[0])
write_results(pd.DataFrame(snakemake.params.excluded), snakemake.output.excluded[0])
