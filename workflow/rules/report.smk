RESULTS = [
    f"{OUT}/tests/attenuation.tsv",
    f"{OUT}/tests/correspondence.tsv",
    f"{OUT}/tests/tracking.tsv",
    f"{OUT}/tests/coupling.tsv",
    f"{OUT}/tests/specificity.tsv",
]
