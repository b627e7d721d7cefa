"""The text for the paper follows what ran; its references are those of the methods used."""

import html
import re
from pathlib import Path

import pandas as pd
import pytest
import results_tables as example
import yaml

from handhold import (
    acquisition,
    captions,
    cobidas,
    methods,
    provenance,
    references,
    report,
    spec,
)

REPORT = Path(__file__).parents[1] / "workflow" / "report"
TEMPLATE = (REPORT / "text.md.jinja").read_text("utf-8")
LIBRARY = references.read_references()
VERSIONS = dict.fromkeys(
    ("handhold", "snakemake", "python", "nilearn", "nibabel", "numpy", "scipy"), "9.8.7"
) | {"pandas": "6.5.4", "matplotlib": "3.2.1"}


def text_table(rows):
    return pd.DataFrame(rows).map(str)


def table_of_tests(question, **columns):
    """One row of a table of tests, with what every such table has."""
    row = {"question": question, "contrast": "partner", "n": 17, "effect": 0.25}
    row |= {"low": 0.1, "high": 0.4, "p": 0.012, "p_fwe": 0.034, "bf10": 4.2}
    row |= {"n_permutations": 4999, "exact": "false", "verdict": "supported"}
    row |= {"definition": "aal3", "region": "vACC", "role": "hypothesised"}
    return text_table([row | columns])


def images():
    """Results of a study of given images, without ratings or panel."""
    parcels = [
        ("partner", f"p{i}", "cortex" if i < 70 else "subcortex", "true", "n/a")
        for i in range(101)
    ] + [("partner", "gone", "cortex", "false", "in 2 of 17 people")]
    columns = ["contrast", "region", "structure", "used", "reason"]
    return {
        "manifest": text_table([{"subject": f"{i:02d}", "image": "x"} for i in range(17)]),
        "exclusions": text_table(
            [
                {"stage": "manifest", "what": "subject", "subject": s, "n": 1, "reason": "moved"}
                for s in ("21", "22")
            ]
            + [
                {"stage": "coverage", "what": "ROI cell", "subject": "03", "n": 1, "reason": ""}
            ]
        ),
        "regions/definitions": text_table(
            [
                {"kind": "roi", "definition": "aal3", "region": "vACC", "role": "hypothesised",
                 "atlas": "aal3", "labels": "A|B", "volume": 12345, "x": 1, "y": 2, "z": 3,
                 "status": "kept", "source": f"after {methods.COAN}"},
                {"kind": "parcel", "definition": "n/a", "region": "tiny", "role": "n/a",
                 "atlas": "hcpex", "labels": "C", "volume": 1, "x": 1, "y": 2, "z": 3,
                 "status": "dropped: under 5 mm^3", "source": ""},
            ]
        ),
        "regions/rois": text_table(
            [{"definition": "aal3", "region": "vACC", "n_voxels": n} for n in (345, 352)]
        ),
        "correspondence/parcels": text_table([dict(zip(columns, p, strict=True)) for p in parcels]),
        "tests/attenuation": table_of_tests("Q1"),
        "tests/correspondence": table_of_tests(
            "Q2", scope="all", method="spearman", n_parcels=101, n_nulls=2999, p_moran=0.04,
            p_gaussian="n/a", p_variogram=0.02, p_map=0.04, p_subject=0.01, n_voxels="n/a",
        ),
    }  # fmt: skip


def rated(baselines=True):
    """Return what ratings add."""
    model = "baseline-adjusted" if baselines else "change"
    partial = {"partial_r": 0.5, "partial_low": 0.1, "partial_high": 0.7}
    partial |= {"p_partial": 0.02, "p_partial_fwe": 0.03, "bf10_partial": 3.3}
    return {
        "relief": text_table(
            [{"subject": s, "contrast": "partner", "relief": 1} for s in "abc"]
        ),
        "reliability": text_table([{"reliability": "n/a"}]),
        "tests/tracking": table_of_tests("Q3", model=model, ceiling="n/a", **partial),
        "tests/coupling": table_of_tests("Q4", model=model, ceiling="n/a", **partial),
    }


def of_runs():
    """Return what BOLD adds."""
    summary = {
        "n_subjects": 17,
        "n_runs": 34,
        "total_volumes": 5100,
        "total_censored": 51,
    }
    summary |= {"share_censored": 0.01, "highest_censored": 0.125, "average_fd": 0.11}
    summary |= {"df_low": 101, "df_high": 119, "n_warned": 0}
    cells = [
        {
            **{"subject": "01", "session": "n/a", "run": run},
            **{"condition": c, "cue": cue, "vif": 2.5},
        }
        for run, c in enumerate(("alone", "partner"), 1)
        for cue in "ts"
    ]
    return {
        "qc/summary": text_table([summary]),
        "qc/runs": text_table([{"n_confounds": 26}]),
        "qc/regressors": text_table(cells),
    }


def study(source="maps", **changes):
    """Return a study's facts beside its results; `changes` are keys of sections of the config."""
    config = spec.resolve(
        {
            "study": "s", "title": "S", "source": "simulated", "seed": 77,
            "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
            "receptors": {"target": "MOR"},
        }
    )  # fmt: skip
    for section, keys in changes.items():
        config[section] = {**config[section], **keys}
    row = {
        "label": "mu-opioid",
        "unit": "BP",
        "licence": "CC0",
        "citation": "Kantonen (2020)",
    }
    atlas = {"what": "", "citation": "x (2000)", "licence": "MIT"}
    return {
        "source": source, "act": "holding", "unit": "% signal change", "config": config,
        "versions": VERSIONS, "others": ["cue", "shock"], "no_trials": "",
        "maps": [{**row, "doi": "10.1016/j.neuroimage.2020.116922"}],
        "atlases": [
            {**atlas, "name": "aal3", "doi": "10.1016/j.neuroimage.2019.116189"},
            {**atlas, "name": "hcpex", "doi": "10.1007/s00429-021-02421-6; 10.1038/nature18933"},
        ],
    }  # fmt: skip


def verdicts(*not_run):
    questions = [
        {"question": "Q1", "verdict": "supported", "sentence": "It falls.", "reason": "p passes",
         "inputs": [{"region": "vACC", "effect": 0.28288, "low": 0.177, "high": 0.388,
                     "p_fwe": 0.0004, "bf10": 1145.4, "n": 20}]},
        *({"question": name, "verdict": "not run", "sentence": "Not run.",
           "reason": f"no {name}", "inputs": []} for name in not_run),
    ]  # fmt: skip
    rule = spec.resolve(
        {"study": "s", "title": "S", "source": "simulated", "seed": 1,
         "contrasts": [{"name": "a", "baseline": "alone", "held": "partner"}],
         "receptors": {"target": "M"}}
    )["verdicts"]  # fmt: skip
    return {"questions": questions, "rule": rule}


def write(results, told=None, said=None):
    return methods.write_paper(
        results, said or verdicts(), told or study(), TEMPLATE, LIBRARY
    )


def body(paper):
    return " ".join(text for _, text in paper.blocks)


SOURCES = {
    "maps": lambda: (images(), study()),
    "rated maps": lambda: (images() | rated(baselines=False), study()),
    "bids": lambda: (images() | rated() | of_runs(), study("bids")),
    "simulated": lambda: (images() | rated() | of_runs(), study("simulated")),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_number_has_its_reference_and_every_reference_is_cited(kind):
    paper = write(*SOURCES[kind]())
    numbers = re.findall(r"\[(\d+(?:, \d+)*)\]", " ".join(t for _, t in paper.numbered))
    used = [int(n) for group in numbers for n in group.split(", ")]
    # numbered in the order of first citation, from 1, without a gap
    assert list(dict.fromkeys(used)) == list(range(1, len(paper.works) + 1))
    assert "[@" not in paper.markdown
    listed = paper.markdown.split("# References")[1].strip().splitlines()
    assert len(listed) == len(paper.works)
    blocks, works = methods.read_markdown(paper.markdown)
    assert works == [line.split(". ", 1)[1] for line in listed]
    assert blocks == paper.numbered


def test_the_numbers_are_those_of_the_tables():
    text = body(write(images() | rated() | of_runs(), study("bids")))
    for told in (
        "17 people were analysed, with 34 runs and 5100 volumes in all",
        "2 subjects (moved)",
        "51 volumes (1.0 %), in no run more than 12 %",
        "101 to 119 degrees of freedom",
        "variance-inflation factor of a regressor of a cell was 2.50",
        "vACC (12345 mm³; 345 to 352 measured voxels)",
        "1 person lacked an ROI",
        "101 entered the correspondence of partner (70 in cortex and 31 in subcortex)",
        "1 (under 5 mm³); 1 (in 2 of 17 people)",
        "4,999 random sign flips",
        "2,999 surrogates",
        "Random numbers start from the seed 77",
        "(3 people)",
        "nilearn 9.8.7",
        "pandas 6.5.4",
    ):
        assert told in text, told
    answer = "vACC: mean = 0.283 % signal change, 95 % interval [0.177, 0.388]"
    assert answer in text
    assert "family-wise p < .001, BF10 = 1145, n = 20" in text


def test_the_text_follows_what_changes():
    """Another count or choice in, another word out; the old one is gone."""
    results = images() | of_runs()
    results["qc/summary"] = results["qc/summary"].assign(n_runs="51")
    results["tests/attenuation"] = table_of_tests(
        "Q1", n_permutations=1023, exact="true"
    )
    told = study("bids", tests={"level": 0.9, "smallest_dz": 0.2})
    told["effect"] = {
        "NoiseModel": "ols",
        "HRF": "glover + derivative",
        "SmoothingFWHM": 5,
    }
    text = body(write(results, told))
    assert "51 runs" in text
    assert "all 1,023 sign flips" in text
    assert "90 % intervals" in text
    assert "d_z = 0.2" in text
    assert "taken as white" in text
    assert "Glover's canonical haemodynamic response and its time derivative" in text
    assert "smoothed by 5 mm" in text
    for gone in ("34 runs", "random sign flips", "95 %", "worsley2002", "not smoothed"):
        assert gone not in text, gone


@pytest.mark.parametrize(
    ("changes", "named", "absent"),
    [
        ({}, ["friston1996", "power2012"], ["power2014", "behzadi2007", "mumford2012"]),
        ({"confounds": {"scrub": 5}}, ["power2014"], []),
        ({"confounds": {"strategy": ["wm_csf"]}}, [], ["friston1996", "power2012"]),
        (
            {"confounds": {"strategy": ["motion", "compcor", "high_pass"], "motion": "basic"},
             "glm": {"drift": "none"}},
            ["behzadi2007"],
            ["friston1996"],
        ),
        ({"glm": {"single_trials": True}}, ["mumford2012"], []),
        ({"glm": {"noise_model": "ols"}}, [], ["worsley2002"]),
    ],
)  # fmt: skip
def test_a_choice_of_the_first_level_is_cited_where_it_was_made(changes, named, absent):
    cited = {
        work.key for work in write(images() | of_runs(), study("bids", **changes)).works
    }
    assert set(named) <= cited
    assert not set(absent) & cited


def test_conditions_that_have_runs_of_their_own_are_told_to():
    told = "conditions are compared between runs"
    results = images() | of_runs()
    assert told in body(write(results, study("bids")))
    cells = results["qc/regressors"].assign(run="1")
    assert told not in body(write({**results, "qc/regressors": cells}, study("bids")))


def test_the_text_says_what_is_not_corrected_and_that_data_are_simulated():
    told = study("simulated")
    text = body(write(images() | rated() | of_runs(), told))
    assert "two-sided, at alpha = 0.05" in text
    assert "not corrected over questions." in text
    assert "nothing of people or receptors" in text
    assert "no image of anyone" not in text
    told["maps"] = [
        {**told["maps"][0], "citation": "modelled from means of Doe (2001)"}
    ]
    assert "no image of anyone" in body(write(images() | rated(), told))
    told = study("bids")
    told["config"]["contrasts"] = [
        {"name": name, "baseline": "alone", "held": "partner"}
        for name in ("partner", "partner_over_stranger")
    ]
    text = body(write(images() | rated() | of_runs(), told))
    assert "nor, in Q2 to Q5, over contrasts" in text
    assert "partner over stranger (alone minus partner)" in text
    assert "nothing of people or receptors" not in text


def test_what_did_not_run_is_not_named():
    paper = write(images(), said=verdicts("Q3", "Q4", "Q5"))
    keys, text = {work.key for work in paper.works}, body(paper)
    only_elsewhere = {
        *("efron1987", "ly2016", "vickers2001", "westfall1993", "budescu1993"),
        *("worsley2002", "enders2007", "clopper1934", "esteban2019", "dietrich1997"),
        *("shrout1979", "spearman1904", "nieuwenhuis2011", "cressie1993"),
    }
    assert not keys & only_elsewhere
    assert "Q3 (no Q3); Q4 (no Q4); Q5 (no Q5)" in text
    for word in ("Tracking", "Relief", "fMRIPrep", "framewise", "Single trials"):
        assert word not in text, word
    unrepeated = {work.key for work in write(images() | rated()).works}
    assert not unrepeated & {"shrout1979", "spearman1904"}
    everything = images() | rated() | {
        "tests/interaction": table_of_tests("Q1"),
        "tests/specificity": table_of_tests("Q5", n_parcels=101),
        "tests/partials": table_of_tests("Q5"),
        "tests/joint": table_of_tests("Q5", dominance=0.2),
        "calibration": text_table([{"n_replicates": 100}]),
        "reliability": text_table([{"reliability": 0.7}]),
    }  # fmt: skip
    everything["tests/tracking"] = everything["tests/tracking"].assign(ceiling="0.8")
    everything["tests/correspondence"] = pd.concat(
        [
            everything["tests/correspondence"].assign(p_gaussian="0.03"),
            table_of_tests("Q2", scope="voxels", n_nulls=999, n_voxels=15726),
        ]
    )
    keys = {work.key for work in write(everything).works}
    assert keys >= only_elsewhere - {"worsley2002", "enders2007", "esteban2019"}


def test_trials_are_told_where_a_slope_was_found():
    trials = table_of_tests("Q3", n_trials=480, indirect="n/a")
    results = images() | rated() | {"tests/within": trials, "tests/mediation": trials}
    paper = write(results)
    keys = {work.key for work in paper.works}
    assert {"enders2007", "kuznetsova2017"} <= keys
    assert not keys & {
        "kenny2003",
        "hesterberg2015",
    }  # no indirect effect was estimated
    assert "480 trials at most" in body(paper)
    results["tests/within"] = trials.assign(effect="n/a")
    assert "enders2007" not in {work.key for work in write(results).works}


def test_the_act_and_ready_made_contrasts_are_told_as_they_are():
    told = study()
    told["act"] = "reappraising"
    told["config"]["contrasts"] = [
        {
            "name": "partner",
            "image": "rea_minus_look",
            "direction": "held_minus_baseline",
        }
    ]
    text = body(write(images(), told))
    assert "above 0 reappraising lowered the response" in text
    assert "from the image rea_minus_look, turned round" in text
    for word in ("holding", "threat", "hand-holding"):
        assert word not in text, word


def test_what_only_looks_like_a_citation_stays_as_it_was_written():
    found = images()
    said = "moved [@nobody2020]"
    found["exclusions"] = found["exclusions"].replace("moved", said)
    text = write(found).markdown
    assert said in text
    assert write(found).bibtex == write(images()).bibtex


def test_fmriprep_is_cited_with_the_version_of_its_derivatives():
    told = study("bids")
    told["acquisition"] = {
        "dataset": {"Name": "Hands", "DatasetDOI": "10.1/x"},
        "derivatives": {"GeneratedBy": [{"Name": "fMRIPrep", "Version": "23.2.1"}]},
        "scans": {"repetition time": "2 s"},
        "people": {},
    }
    paper = write(images() | of_runs(), told)
    assert "fMRIPrep 23.2.1 [@esteban2019]" in body(paper)
    assert "(Hands, doi 10.1/x)" in body(paper)
    told["acquisition"]["derivatives"] = {
        "GeneratedBy": [{"Name": "own", "Version": "1"}]
    }
    paper = write(images() | of_runs(), told)
    assert "preprocessed with own 1," in body(paper)
    assert "esteban2019" not in {work.key for work in paper.works}


def test_a_map_of_ones_own_is_listed_as_its_registry_words_it():
    told = study()
    own = {"label": "mine", "unit": "a.u.", "licence": "none & all", "doi": "n/a"}
    told["maps"] = [
        *told["maps"],
        {**own, "citation": "Doe {and} others (1999), J. 1_2"},
    ]
    paper = write(images(), told)
    (work,) = [work for work in paper.works if work.kind == "misc"]
    assert work.plain == "Doe and others (1999), J. 1_2."
    assert references.parse_references(work.bibtex)[work.key] == work
    told["maps"][1]["citation"] = "invented"  # names no work
    assert not [work for work in write(images(), told).works if work.kind == "misc"]
    assert "licence: none & all" in body(paper)


def test_latex_cites_by_key_and_escapes():
    told = study()
    told["unit"] = "% & \\input{x} _^~"
    paper = write(images(), told)
    tex = paper.latex
    keys = {
        k for group in re.findall(r"\\cite\{([^}]*)\}", tex) for k in group.split(",")
    }
    assert keys == {work.key for work in paper.works}
    assert keys == set(references.parse_references(paper.bibtex))
    assert (
        r"\% \& \textbackslash{}input\{x\} \_\textasciicircum{}\textasciitilde{}" in tex
    )
    assert "\\input{x}" not in tex
    bare = re.sub(r"\\[{}\\%&_#$]", "", tex)
    assert bare.count("{") == bare.count("}")
    assert not re.search(
        r"(?<!\\)[%&#_$](?!\S*\$)", re.sub(r"^% .*|\$[<>-]\$", "", bare)
    )


def test_a_study_without_a_number_still_has_a_text():
    """What could not be tested is told as missing."""
    kept = {
        "contrast",
        "region",
        "scope",
        "method",
        "role",
        "question",
        "model",
        "definition",
    }
    results = images() | rated() | of_runs()
    for name in [name for name in results if name.startswith(("tests/", "qc/"))]:
        idle = [column for column in results[name] if column not in kept]
        results[name] = results[name].assign(**dict.fromkeys(idle, "n/a"))
    text = body(write(results, study("bids")))
    assert "n/a random sign flips" in text
    assert not re.search(r"\bnan\b", text)


def test_the_same_results_give_the_same_text():
    one, other = (write(*SOURCES["bids"]()) for _ in range(2))
    assert one == other


# --- The checklist -----------------------------------------------------------------------


def checklist(results, told, said=None):
    facts = methods.gather(results, said or verdicts(), told, dict(LIBRARY))
    table = cobidas.fill_checklist(facts, results)
    assert not table.duplicated(["section", "item"]).any()
    assert (table["answer"] == cobidas.BLANK).eq(table["filled_by"] == "author").all()
    assert not table["answer"].str.contains("[@", regex=False).any()
    return table.set_index("item")


def test_the_checklist_is_filled_where_the_results_tell():
    told = study("bids")
    told["acquisition"] = {"scans": {"repetition time": "2 s", "echo time": "0.03 s"}}
    table = checklist(images() | of_runs(), told)
    timing = table.loc["Sequence and its timing: type, TR, TE, flip angle", "answer"]
    assert timing == "repetition time 2 s; echo time 0.03 s"
    assert table.loc["Confounds and censoring", "answer"].startswith(
        "24 motion parameters"
    )
    assert "51 volumes (1.0 %)" in table.loc["Confounds and censoring", "answer"]
    assert table.loc["Ethics approval and consent", "filled_by"] == "author"
    assert set(table["section"]) == {
        *(
            "Experimental design",
            "Acquisition",
            "Preprocessing",
            "Statistical modelling",
        ),
        *("Results", "Data sharing", "Reproducibility"),
    }


def test_the_checklist_leaves_to_the_author_what_images_cannot_tell():
    table = checklist(images(), study())
    for item in ("Smoothing", "Confounds and censoring", "Software and version"):
        assert table.loc[item, "filled_by"] == "author", item
    assert "(Q3)" not in table.loc["Correction for many tests", "answer"]
    simulated = checklist(images() | of_runs(), study("simulated"))
    assert simulated.loc["Ethics approval and consent", "filled_by"] == "not applicable"


# --- References ----------------------------------------------------------------------------


def test_the_library_is_complete():
    assert len({work.fields.get("doi", key) for key, work in LIBRARY.items()}) == len(
        LIBRARY
    )
    for key, work in LIBRARY.items():
        needed = {"author", "year", "title"} | {
            "article": {"journal", "pages"},
            "inproceedings": {"booktitle", "pages"},
            "book": {"publisher", "address"},
        }[work.kind]
        assert needed <= set(work.fields), key
        assert re.fullmatch(r"(19|20)\d\d", work.fields["year"]), key
        assert key.endswith(work.fields["year"]), key
        doi = work.fields.get("doi")
        assert doi is None or re.fullmatch(r"10\.\d{4,9}/\S+", doi), key
        first = work.fields["author"].split(",")[0].lower()
        assert re.sub(r"[^a-z]", "", key)[:4] in re.sub(r"[^a-z]", "", _ascii(first)), (
            key
        )
        assert references.parse_references(work.bibtex)[key] == work
        # braces balance and ampersands are escaped, as BibTeX wants
        assert work.bibtex.count("{") == work.bibtex.count("}"), key
        assert not re.search(r"(?<!\\)&", work.bibtex), key


def _ascii(text):
    return text.translate(str.maketrans("áéíóúöäøš", "aeiouoaos"))


def test_every_work_of_the_library_can_be_cited():
    """A work that no text, map or atlas names is not in the library."""
    source = TEMPLATE + (REPORT.parent / "handhold" / "methods.py").read_text("utf-8")
    named = set(re.findall(r"@([a-z]+\d{4})", source))
    assert named <= set(LIBRARY)
    registries = "".join(
        (REPORT.parents[1] / "atlases" / f"{name}.tsv").read_text("utf-8").lower()
        for name in ("atlases", "receptors")
    )
    registries += (REPORT.parent / "handhold" / "simulate_bids.py").read_text("utf-8")
    for key in set(LIBRARY) - named:
        assert LIBRARY[key].fields["doi"].lower() in registries, key


def cite_registries():
    """Each row of the shipped registries, with the works that it cites."""
    for name in ("atlases", "receptors"):
        path = REPORT.parents[1] / "atlases" / f"{name}.tsv"
        table = pd.read_csv(path, sep="\t", dtype=str).fillna("n/a")
        for row in table.to_dict("records"):
            works = references.find_works(row["citation"], row["doi"], LIBRARY)
            yield row, works


def test_every_registered_map_and_atlas_is_cited_with_its_doi():
    """From the library with all its fields, or as the registry words it."""
    for row, works in cite_registries():
        for work in works:
            if work.key in LIBRARY:
                assert work.fields["year"] in row["citation"]
            else:
                assert work.plain == f"{row['citation'].rstrip('.')}. doi:{row['doi']}"


def test_what_the_shipped_studies_take_is_in_the_library():
    taken = set()
    for path in (REPORT.parents[1] / "config").rglob("*.yaml"):
        chosen = yaml.safe_load(path.read_text("utf-8"))["receptors"]
        taken |= {chosen["target"], *chosen.get("panel", [])}
    works = {
        row["receptor"]: works for row, works in cite_registries() if "receptor" in row
    }
    assert len(taken & {*works}) > 6
    for name in taken & {*works}:
        assert all(work.key in LIBRARY for work in works[name]), name


@pytest.mark.parametrize("fault", ["a key twice", "no end", "two lines"])
def test_a_broken_library_is_refused(fault):
    entry = "@book{a,\n  year = {1},\n}\n"
    text = {
        "a key twice": entry + entry,
        "no end": entry.removesuffix("}\n") + "\n",
        "two lines": entry.replace("{1}", "{1\n2}"),
    }[fault]
    with pytest.raises(ValueError, match=r"brace|stands twice"):
        references.parse_references(text)


# --- What the sidecars say -------------------------------------------------------------------


def test_sidecars_are_inherited_and_people_described(tmp_path):
    (tmp_path / "sub-01" / "func").mkdir(parents=True)
    (tmp_path / "task-x_bold.json").write_text('{"EchoTime": 0.03, "FlipAngle": 90}')
    (tmp_path / "task-y_bold.json").write_text(
        '{"EchoTime": 0.99, "Manufacturer": "no"}'
    )
    own = tmp_path / "sub-01" / "func" / "sub-01_task-x_run-2_bold.json"
    own.write_text('{"EchoTime": 0.04, "SliceTiming": [0, 1]}')
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t20\tF\nsub-02\t30\tM\nsub-03\t99\tM\n"
    )
    name = "sub-{}_task-x_run-{}_space-MNI_res-2_desc-preproc_bold.nii.gz"
    runs = pd.DataFrame(
        [
            {"subject": "01", "bold": name.format("01", 1), "sidecar": None},
            {"subject": "01", "bold": name.format("01", 2), "sidecar": None},
            {"subject": "02", "bold": name.format("02", 1), "sidecar": None},
        ]
    )
    said = acquisition.read_acquisition(tmp_path, tmp_path / "nowhere", runs)
    assert said["scans"] == {"echo time": "0.03, 0.04 s", "flip angle": "90 degrees"}
    assert said["n_slice_timed"] == 1
    assert said["people"]["age"].startswith(
        "mean age 25.0 years (SD 7.1, range 20 to 30"
    )
    assert said["people"]["sex"] == "sex: 1 F, 1 M"
    assert said["dataset"] == said["derivatives"] == {}
    # a table that cannot be read is told of nobody, and stops nobody's study at its end
    (tmp_path / "participants.tsv").write_bytes(b"participant_id\tsex\nsub-01\tM\xe4\n")
    assert acquisition.read_acquisition(tmp_path, tmp_path, runs)["people"] == {}


# --- On the page -----------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_the_page_shows_the_text_and_carries_its_files():
    paper = write(
        images() | {"tests/interaction": table_of_tests("Q1", region=HOSTILE)}
    )
    file = {"name": "text.md", "href": "data:text/plain;charset=utf-8;base64,eA=="}
    told = {
        "title": "A study",
        "config": "a: 1",
        "files": [file],
        "paper": {
            "blocks": [*paper.numbered, (0, HOSTILE)],
            "works": [work.plain for work in paper.works],
            "bibtex": HOSTILE + paper.bibtex,
            "files": [file],
        },
        "checklist": text_table([{"section": "s", "item": HOSTILE, "answer": "x"}]),
        "steps": text_table(
            [{"step": "fit", "asks": "How?", "n_run": 3, "n_kept": 17}]
        ),
        "checksums": text_table([{"path": "a.tsv", "size": 123456, "sha256": "00"}]),
        "run": {"command": f"snakemake {HOSTILE}", "seed": 5, "null_seed": None},
        "skipped": [("calibration", HOSTILE)],
    }
    page = report.render(told, {}, example.VERDICTS, {}, example.PAGE_PARTS)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    shown = html.unescape(re.sub(r"<[^>]+>", "", page))
    for text in (
        "17 people were analysed.",
        "Seed of every random number: 5",
        "snakemake ",
    ):
        assert text in shown, text
    assert shown.count(HOSTILE) == 5
    carried = re.findall(r'<a href="(data:[^"]*)" download="([^"]*)"', page)
    assert carried == [(file["href"], "text.md")] * 2
    assert [*re.findall(r'<a href="data:', page)] == ['<a href="data:'] * 2
    for cell in ("Kept from before", "123456", "Ran now"):
        assert cell in shown


def test_a_page_without_a_paper_has_no_empty_sections():
    page = report.render({"title": "A"}, {}, example.VERDICTS, {}, example.PAGE_PARTS)
    for heading in ("References", "BibTeX", "COBIDAS", "Steps", "The command"):
        assert heading not in page


def test_no_note_of_the_page_is_of_one_act_only():
    """What stands beside a question holds for whatever lowers the response."""
    for tables_beside in report.BESIDE.values():
        for beside in tables_beside:
            assert not re.search(r"\bhand\b|\bthreat\b|holding", beside.note), (
                beside.path
            )


def test_captions_state_the_level_of_the_study():
    text = "middle 95 % of its null, BCa bootstrap 95 % interval, 95 % of runs"
    said = captions.at_level(text, 0.99)
    assert said == "middle 99 % of its null, BCa bootstrap 99 % interval, 95 % of runs"
    assert captions.at_level(text, 0.95) == text


def test_the_dataset_names_what_it_was_made_from(tmp_path):
    made = provenance.describe_dataset("T", str(tmp_path), {"handhold": "1.2.3"})
    assert made["GeneratedBy"][0]["Version"] == "1.2.3"
    assert made["SourceDatasets"] == [{"URL": str(tmp_path)}]
    given = '{"DatasetDOI": "10.1/x", "DatasetVersion": "2"}'
    (tmp_path / "dataset_description.json").write_text(given, encoding="utf-8")
    made = provenance.describe_dataset("T", str(tmp_path), {"handhold": "1.2.3"})
    source = {"URL": str(tmp_path), "DOI": "10.1/x", "Version": "2"}
    assert made["SourceDatasets"] == [source]


def test_the_jobs_of_a_step_are_counted_as_run_or_kept():
    jobs = [("fit", "How?", True), ("fit", "How?", False), ("fit", "How?", False)]
    steps = provenance.list_steps([*jobs, ("add", "Why?", True)])
    assert steps.to_numpy().tolist() == [["add", "Why?", 1, 0], ["fit", "How?", 1, 2]]
