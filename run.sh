cd /tmp/scratch/methods/study; PYTHONPATH=$PWD/workflow python -m snakemake --configfile study.yaml --cores 2 --rerun-triggers mtime 2>&1
