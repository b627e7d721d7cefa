"""What parses, one function each: a case is read rightly, or refused in one clear message.

A target takes something that draws as `random.Random` does, and an empty folder. It returns "read"
or "refused", and raises whatever else happens: an exception that is no StudyError, a message that
says nothing, or a value that an independent reading gives otherwise.
"""

import copy
import csv
import gzip
import io
import json
import math
import pickle
import re
from functools import cache
from pathlib import Path

import bend
import nibabel as nib
import numpy as np
import pandas as pd
import yaml

from handhold import (
    acquisition,
    atlases,
    bids,
    bold,
    events,
    extract,
    images,
    openneuro,
    public,
    ratings,
    rundesign,
    sources,
    spec,
    study,
    transfer,
    trials,
)
from handhold import io as tables
from handhold.errors import StudyError
from handhold.regions import Cloud, weigh
from handhold.rundesign import RunDesign

ROOT = Path(__file__).parents[2]
LONGEST = 20_000
REFUSED = object()


def attempt(call, *said: str):
    """Return what a call gives, or REFUSED where it refuses in a message that holds `said`."""
    try:
        return call()
    except StudyError as error:
        text = str(error)
        assert 20 < len(text) < LONGEST, f"a message of {len(text)} characters"
        assert "Traceback" not in text, text
        for word in said:
            assert word in text, f"{word!r} is not in: {text}"
        text.encode("utf-8", "backslashreplace")
        return REFUSED


def outcome(*found) -> str:
    return "refused" if any(each is REFUSED for each in found) else "read"


def put(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    )
    return path


# --- Tables --------------------------------------------------------------------------------------


def same_cells(table: pd.DataFrame, rows: list[list[str]]) -> None:
    """Hold a table against rows of text: stripped, blanks and their words missing."""
    names = [name.strip() or "without a name" for name in rows[0]]
    assert list(table.columns) == names
    assert len(table) == len(rows) - 1, (len(table), len(rows))
    for (_, found), row in zip(table.iterrows(), rows[1:], strict=True):
        cells = [cell.strip() for cell in row] + [""] * (len(names) - len(row))
        wanted = [None if cell in tables.MISSING else cell for cell in cells]
        assert [None if pd.isna(cell) else cell for cell in found] == wanted


def read_independently(text: str, separator: str) -> list[list[str]]:
    """Split text without quotes into rows: lines of any system, blank ones left out."""
    lines = (
        text.removeprefix("\ufeff")
        .replace("\r\n", "\n")
        .replace("\r", "\n")
        .split("\n")
    )
    return [
        line.split(separator)
        for line in lines
        if line.strip(" " if separator == "\t" else None)
    ]


def table(rng, folder: Path) -> str:
    """Any TSV or CSV of a user, in any encoding."""
    separator, suffix = rng.choice((("\t", ".tsv"), ("\t", ".txt"), (",", ".csv")))
    rows = bend.draw_rows(rng)
    intact = rng.random() < 0.4
    if not intact and rng.random() < 0.6:
        rows = bend.bend_rows(rng, rows)
    content, encoding = bend.encode(
        rng, bend.as_text(rng, rows, separator, mixed=rng.random() < 0.3)
    )
    if not intact and rng.random() < 0.6:
        content = bend.bend(rng, content)
    path = put(folder, f"t{suffix}", content)
    found = attempt(
        lambda: tables.read_table(path, "maps.table"), str(path), "maps.table"
    )
    if found is REFUSED:
        assert not (intact and encoding.startswith("utf-8")), (
            "a whole table was refused"
        )
        return "refused"
    if intact:
        assert (
            encoding.startswith("utf-8") or content.isascii() or encoding == "latin-1"
        )
    text = content.decode("utf-8")
    if '"' not in text:
        same_cells(found, read_independently(text, separator))
    else:
        assert len(found) < len(text.splitlines())
    return "read"


MAPS = {
    "columns": {
        "subject": "participant_id",
        "condition": "condition",
        "cue": "cue",
        "image": "image",
    },
    "rename": {"condition": {"ctrl": "alone"}, "cue": {}},
    "include": {},
}
CONTRASTS = [{"name": "partner", "baseline": "alone", "held": "partner"}]


def images_table(rng, folder: Path) -> str:
    """The table of images becomes a manifest, in which every row is counted."""
    rows = [["participant_id", "condition", "cue", "image", "group", "why"]]
    for who in ("01", "sub-02", "x 3", "4"):
        rows += [
            [who, condition, cue, f"{who}_{condition}_{cue}.nii", "a", ""]
            for condition in ("ctrl", "partner")
            for cue in ("threat", "safe")
        ]
    maps = copy.deepcopy(MAPS) | {"table": str(folder / "images.tsv")}
    kind = rng.randrange(4)
    if kind == 1:
        maps["include"] = {
            rng.choice(("group", "why", "nowhere")): [rng.choice(("a", "b", ""))]
        }
    if kind == 2:
        maps["exclude_column"] = rng.choice(("why", "group", "condition"))
    if kind == 3:
        del maps["columns"]["image"]
        maps["image_template"] = rng.choice(
            (
                "{participant_id}_{condition}_{cue}.nii",
                "{0}",
                "{participant_id:>99999999}",
                *bend.ODD,
            )
        )
    bent = rng.random() < 0.8
    if bent:
        rows = bend.bend_rows(rng, rows)
    content = bend.as_text(rng, rows).encode("utf-8", "surrogatepass")
    path = put(folder, "images.tsv", content)
    text = attempt(lambda: tables.read_table(path, "maps.table"), "maps.table")
    if text is REFUSED:
        return "refused"
    found = attempt(lambda: sources.list_images(text, maps, CONTRASTS), "maps.")
    if found is REFUSED:
        assert bent or kind, "a whole table was refused"
        return "refused"
    counted = len(found.images) + int(found.excluded["n"].sum())
    assert counted == len(text), f"{counted} of {len(text)} rows are counted"
    for subject in found.subjects:
        label = sources.file_label(subject)
        assert re.fullmatch("[A-Za-z0-9]{1,60}", label), label
    assert attempt(lambda: sources.require_files(found.images), "maps.table") is REFUSED
    return "read"


def ratings_table(rng, folder: Path) -> str:
    """Ratings become relief, as a few lines of plain Python compute it."""
    people = ["01", "02", "x 3", "4"]
    asked = {
        "higher_is": rng.choice(("more_unpleasant", "more_relief")),
        "subject": "who",
    }
    asked["table"] = str(folder / "ratings.csv")
    numbers = [[rng.randint(0, 100) for _ in "ab"] for _ in people]
    if rng.random() < 0.5:
        asked["wide"] = {"alone": "a", "partner": "b"}
        rows = [["who", "a", "b"]]
        rows += [
            [who, *map(str, own)] for who, own in zip(people, numbers, strict=True)
        ]
    else:
        asked["long"] = {"condition": "of", "rating": "score"}
        rows = [["who", "of", "score"]]
        for who, own in zip(people, numbers, strict=True):
            rows += [
                [who, of, str(n)]
                for of, n in zip(("alone", "partner"), own, strict=True)
            ]
    bent = rng.random() < 0.8
    if bent:
        rows = bend.bend_rows(rng, rows)
    path = put(
        folder,
        "ratings.csv",
        bend.as_text(rng, rows, ",").encode("utf-8", "surrogatepass"),
    )
    text = attempt(lambda: tables.read_table(path, "ratings.table"), "ratings.table")
    if text is REFUSED:
        return "refused"
    given = {"excluded": [], "rename": {}, "source": "maps"}
    found = attempt(
        lambda: ratings.relieve(text, asked, CONTRASTS, people, **given), "ratings"
    )
    attempt(
        lambda: ratings.list_unscanned(text, asked, CONTRASTS, people, **given),
        "ratings",
    )
    if found is REFUSED:
        assert bent, "whole ratings were refused"
        return "refused"
    assert list(found["subject"]) == people
    assert np.isfinite(found["relief"]).all()
    if not bent:
        sign = 1 if asked["higher_is"] == "more_unpleasant" else -1
        assert found["relief"].tolist() == [sign * (a - b) for a, b in numbers]
    return "read"


def registries(rng, folder: Path) -> str:
    """Tables of atlases, regions and receptor maps, with the files that they name."""
    which = rng.choice(("atlases", "rois", "receptors"))
    whole = (ROOT / "atlases" / f"{which}.tsv").read_bytes()
    if rng.random() < 0.5:
        content = bend.bend(rng, whole)
    else:
        rows = [line.split("\t") for line in whole.decode().splitlines()]
        content = bend.as_text(rng, bend.bend_rows(rng, rows)).encode(
            "utf-8", "surrogatepass"
        )
    path = put(folder, f"{which}.tsv", content)
    section = {
        "source": "maps",
        "data_root": str(folder),
        "receptors": {"table": str(path)},
    }
    if which == "atlases":
        known = attempt(lambda: atlases.read_atlases(path, folder), "regions.atlases")
        if known is REFUSED:
            return "refused"
        files = attempt(lambda: atlases.image_files(known, list(known)))
        assert files is REFUSED or all(isinstance(file, Path) for file in files)
        return "read"
    if which == "rois":
        first = next(
            iter(
                {line.split("\t")[0]: None for line in whole.decode().splitlines()[1:]}
            )
        )
        rows = attempt(lambda: atlases.read_definitions(path, [first]), "rois")
        if rows is REFUSED:
            return "refused"
        spheres = rows[rows["atlas"] == "sphere"]
        found = attempt(
            lambda: [cloud for _, cloud in atlases.sphere_parts(spheres, None)],
            "regions.rois",
        )
        return outcome(found)
    chosen = [line.split("\t")[0] for line in whole.decode().splitlines()[1:4]]
    section["receptors"] |= {"target": chosen[0], "panel": chosen[1:]}
    found = attempt(lambda: study._receptors(section, "results/x"), "receptors")
    section["regions"] = {
        **{name: str(ROOT / "atlases" / f"{name}.tsv") for name in ("atlases", "rois")},
        **{"definitions": ["aal3"], "parcels": "AAL3"},
    }
    wanted = attempt(lambda: public._files(section))
    if wanted is not REFUSED:
        for each in wanted:
            inside = each.path.resolve().is_relative_to(folder.resolve())
            assert inside, f"{each.path} would be fetched to outside data_root"
    return outcome(found)


SPHERES = pd.DataFrame(
    [("mine", "ball", "sphere", "4 32 -8", "6", "", "")],
    columns=["definition", "region", "atlas", "centre", "radius", "where", "threshold"],
)


def spheres(rng, folder: Path) -> str:
    """Spheres with any centre, radius and clause."""
    row = SPHERES.copy()
    column = rng.choice(("centre", "radius", "where"))
    numbers = (
        "6",
        "7.5",
        "0.4",
        "4, 32, -8",
        "1e3",
        "1e9",
        "-1",
        "nan",
        "inf",
        "1 2 3",
        "1e300 0 0",
        "x > 1",
        "z < 1e9",
        "x>0 and",
    )
    row.loc[0, column] = rng.choice(numbers if rng.random() < 0.7 else bend.ODD)
    found = attempt(lambda: atlases.roi_clouds(row, {}), "regions.rois")
    if found is not REFUSED:
        (cloud,) = found.values()
        assert np.isfinite(cloud.points).all()
        radius = float(row.loc[0, "radius"])
        assert cloud.volume[0] <= 4.2 * (radius + 2) ** 3
    return outcome(found)


FORMATS = {
    "id_name": "1 left_acc\n2 right_acc\n9 vmPFC\n",
    "csv": "index,name\n0,Background\n1,ACC\n2,Insula\n",
    "lut_pairs": "ACC\n1 10 20 30 255\nInsula\n2 1 2 3 255\n",
    "names": "ACC\nInsula\nCaudate\n",
    "fsl_xml": '<atlas><data><label index="0" x="1">Frontal &amp; Pole</label>\n'
    '<label index="1">Insula</label></data></atlas>',
}


def labels(rng, folder: Path) -> str:
    """Label tables of atlases in every format, structure rules, and the image that they name."""
    form = rng.choice(sorted(FORMATS))
    whole = FORMATS[form].encode()
    intact = rng.random() < 0.2
    content = whole if intact else bend.bend(rng, whole)
    path = put(folder, "labels.txt", content)
    rule = rng.choice(
        ("cortex", "subcortex=1-2", "cortex=^A", f"cortex={rng.choice(bend.ODD)}")
    )
    atlas = atlases.Atlas("mine", "labels", folder / "a.nii", path, form, rule, "x")
    found = attempt(lambda: atlases.read_label_names(atlas), "mine")
    if found is REFUSED:
        assert not intact
        return "refused"
    assert all(
        isinstance(code, int) and isinstance(name, str) for code, name in found.items()
    )
    codes, names = np.array([*found, 1]), np.array([*found.values(), "x"])
    return outcome(
        attempt(lambda: atlases._structure(atlas, codes, names), "structure_rule")
    )


# --- Configuration -------------------------------------------------------------------------------

YAMLS = (
    "a: &a [x, x, x]\nb: &b [*a, *a, *a]\n",
    "title: &t [*t]\n",
    "? [a, b]\n: c\n",
    "study: !!python/object/apply:os.system ['true']\n",
    "study: !!binary aGFuZA==\n",
    "seed: 0x1F\n",
    "seed: 1:30\n",
    "seed: 1_000\n",
    "title: 2020-01-01\n",
    "title: 2020-01-01T00:00:00Z\n",
    "title: ~\n",
    "title: {}\n",
    "title: Yes\n",
    "<<: {seed: 2}\n",
    "<<: [1]\n",
    "!!set {a, b}\n",
    "\tseed: 1\n",
    "seed: 1\nseed: 2\n",
    "---\na: 1\n---\nb: 2\n",
    'title: "\\ud800"\n',
    'title: "\\0"\n',
    "seed: " + "9" * 4000 + "\n",
    "seed: " + "9" * 5000 + "\n",
    "seed: .inf\n",
    "seed: 1e999\n",
    "title: |\n  " + "x" * 5000 + "\n",
)


@cache
def configurations() -> list[tuple[str, dict]]:
    paths = [*(ROOT / "config").glob("*.yaml"), *(ROOT / "config").glob("*/*.yaml")]
    texts = [path.read_text(encoding="utf-8") for path in sorted(paths)]
    return [(text, yaml.safe_load(text)) for text in texts]


def laughs(depth: int) -> str:
    """A few lines of YAML that stand for 9 ** depth words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for i in range(1, depth):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    return "\n".join([*lines, f"title: *a{depth - 1}"]) + "\n"


def config(rng, folder: Path) -> str:
    """A study's YAML file: loaded as Snakemake does, checked, and filled."""
    text, tree = rng.choice(configurations())
    kind = rng.randrange(10)
    if kind < 5:
        tree = bend.bend_tree(rng, copy.deepcopy(tree))
    elif kind < 7:
        content = bend.bend(rng, text.encode())
        tree = loaded(put(folder, "c.yaml", content))
    elif kind == 7:
        tree = loaded(put(folder, "c.yaml", text + rng.choice((*YAMLS, laughs(8)))))
    elif kind == 8:
        content, _ = bend.encode(rng, text)
        tree = loaded(put(folder, "c.yaml", content))
    else:
        tree = loaded(put(folder, "c.yaml", rng.choice((text, laughs(8), *YAMLS))))
    if tree is REFUSED:
        return "refused"
    found = attempt(lambda: spec.resolve(tree), "configuration")
    if found is REFUSED:
        return "refused"
    assert spec.resolve(found | {"source": found["source"]}) == found
    (ROOT / "results" / found["study"]).relative_to(ROOT / "results")
    assert Path(found["study"]).name == found["study"]
    written = yaml.safe_dump(found, sort_keys=False)
    assert yaml.safe_load(written) == found
    written.encode()
    json.dumps(found)
    return "read"


def loaded(path: Path):
    """Load a file as Snakemake and then handhold do before a configuration is checked."""
    from snakemake.common.configfile import load_configfile
    from snakemake.exceptions import WorkflowError

    fault = attempt(lambda: spec.require_readable([path]), str(path))
    if fault is REFUSED:
        return REFUSED
    # what handhold can read is no traceback to Snakemake either
    try:
        return load_configfile(str(path))
    except WorkflowError:
        return REFUSED


# --- Events, confounds, sidecars, trees ----------------------------------------------------------

EVENTS = {
    "type_column": "trial_type",
    "cells": [{"trial_type": cue, "cue": cue} for cue in ("threat", "safe")],
    "condition": {"column": "hand"},
    "rename": {},
    "others": ["shock"],
    "ignore": ["n/a"],
}
TRIALS = [
    ["onset", "duration", "trial_type", "hand", "score"],
    *(["2.0", "4", "threat", "alone", "7"], ["12.5", "4", "safe", "alone", "3"]),
    *(["22", "4", "threat", "partner", "5"], ["33", "4", "safe", "partner", "2"]),
    ["40", "0.5", "shock", "n/a", "n/a"],
]


def draw_events(rng) -> tuple[bytes, bool]:
    if rng.random() < 0.2:
        return bend.as_text(rng, TRIALS).encode(), True
    rows = bend.bend_rows(rng, TRIALS)
    content, _ = bend.encode(rng, bend.as_text(rng, rows, mixed=rng.random() < 0.3))
    return (bend.bend(rng, content) if rng.random() < 0.5 else content), False


def events_file(rng, folder: Path) -> str:
    """An events file becomes trials."""
    content, intact = draw_events(rng)
    path = put(folder, "events.tsv", content)
    found = attempt(lambda: bids.read_events(path, "sub-01"), "sub-01", str(path))
    if found is REFUSED:
        assert not intact
        return "refused"
    text = content.decode("utf-8-sig")
    if '"' not in text:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        filled = [line for line in lines if line.strip()]
        assert len(found) == len(filled) - 1
    asked = copy.deepcopy(EVENTS)
    if rng.random() < 0.5:
        asked["rating"] = {"column": "score"}
        if rng.random() < 0.3:
            asked["rating"]["trial_type"] = "shock"
    if rng.random() < 0.2:
        asked["condition"] = {"run": {rng.choice(("1", "01", 1, "9" * 5000)): "alone"}}
    tidy = attempt(
        lambda: events.tidy_events(found, asked, run="1", where="sub-01"), "sub-01"
    )
    if tidy is REFUSED:
        return "refused"
    made, ignored = tidy
    assert np.isfinite(made[["onset", "duration"]].to_numpy(float)).all()
    assert len(made) + int(ignored["n"].sum()) == len(found), "an event is not counted"
    if intact and "column" in asked["condition"]:
        assert made["onset"].tolist() == [2, 12.5, 22, 33, 40]
        assert made["condition"].tolist()[:4] == [
            "alone",
            "alone",
            "partner",
            "partner",
        ]
    attempt(lambda: events.check_span(made, 60.0, "sub-01"), "sub-01")
    return "read"


MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
CONFOUNDS = {
    **{"strategy": ["motion", "wm_csf", "scrub"], "motion": "basic", "wm_csf": "basic"},
    **{
        "global_signal": "basic",
        "compcor": "anat_combined",
        "n_compcor": 2,
        "scrub": 0,
    },
    **{"fd_threshold_mm": 0.5, "std_dvars_threshold": 2.0, "max_censored": 0.5},
}
COMPONENTS = {
    f"a_comp_cor_{i:02d}": {"Mask": "combined", "Method": "aCompCor", "Retained": True}
    for i in range(3)
}


def confounds(rng, folder: Path) -> str:
    """A confound table of fMRIPrep and the JSON beside it, through nilearn."""
    from handhold.design import load_confounds

    names = [*MOTION, "csf", "white_matter", "framewise_displacement", "std_dvars"]
    names += ["non_steady_state_outlier00", "cosine00", *COMPONENTS]
    rows = [names, *([f"{rng.random():.4f}" for _ in names] for _ in range(12))]
    for row in rows[2:]:
        row[names.index("non_steady_state_outlier00")] = "0"
    for row in rows[1:]:
        row[names.index("framewise_displacement")] = "0.1"
    rows[1][names.index("framewise_displacement")] = "n/a"
    asked = dict(CONFOUNDS)
    beside = json.dumps(COMPONENTS).encode()
    if rng.random() < 0.4:
        asked |= {"strategy": ["motion", "compcor", "high_pass"]}
        if rng.random() < 0.7:
            beside = bend_json(rng, COMPONENTS)
    intact = rng.random() < 0.15
    numbers = np.array(rows[1:], dtype=object)
    if not intact and rng.random() < 0.6:
        rows = bend.bend_rows(rng, rows)
    content = bend.as_text(rng, rows).encode("utf-8", "surrogatepass")
    if not intact and rng.random() < 0.5:
        content = bend.bend(rng, content)
    path = put(folder, "c_desc-confounds_timeseries.tsv", content)
    put(folder, "c_desc-confounds_timeseries.json", beside)
    found = attempt(
        lambda: load_confounds(path, asked, "sub-01"), "sub-01", str(path.stem)
    )
    if found is REFUSED:
        return "refused"
    chosen, keep, _ = found
    assert np.isfinite(chosen.to_numpy(float)).all()
    assert len(chosen) == len(keep)
    if intact:
        column = numbers[:, names.index("trans_x")].astype(float)
        assert np.array_equal(chosen["trans_x"], column)
    return "read"


def bend_json(rng, content) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return bend.bend(rng, json.dumps(content).encode())
    if kind == 1:
        return rng.choice(
            (b"", b"[]", b"null", b"1", b"[" * 100_000, b'{"a":' * 100_000, b"NaN")
        )
    if kind == 2:
        return json.dumps(content).encode(rng.choice(("utf-8-sig", "utf-16", "utf-32")))
    tree = bend.bend_tree(rng, copy.deepcopy(content))
    try:
        return json.dumps(tree).encode()
    except ValueError:  # a number of more digits than Python writes
        return json.dumps(content).replace("2.0", "9" * 5000).encode()


SIDECAR = {
    "RepetitionTime": 2.0,
    "StartTime": 1.0,
    "TaskName": "hands",
    "SliceTiming": [0, 1.0],
}
DESCRIBED = {
    "Name": "A study",
    "BIDSVersion": "1.10.0",
    "DatasetDOI": "10.1/x",
    "Authors": ["A", "B"],
}


def sidecars(rng, folder: Path) -> str:
    """JSON beside BOLD, descriptions of datasets, and tables of participants."""
    path = put(
        folder, "sub-01/func/sub-01_task-hands_bold.json", bend_json(rng, SIDECAR)
    )
    run = {"subject": "01", "session": None, "run": None, "sidecar": str(path)}
    seconds = attempt(lambda: bids.repetition_time(run), "sub-01", str(path))
    assert seconds is REFUSED or 0 < seconds <= bids.LONGEST_TR_S
    if seconds is not REFUSED:
        content = np.zeros((*SHAPE, 3), "f4")
        run["bold"] = str(put(folder, "b.nii", nifti(content, nib.Nifti1Image)))
        attempt(
            lambda: trials.measure_runs(pd.DataFrame([run]), {"slice_time_ref": 0.5}),
            str(path),
        )
    put(folder, "dataset_description.json", bend_json(rng, DESCRIBED))
    people = [
        ["participant_id", "age", "sex"],
        *([f"sub-0{i}", f"2{i}", "F"] for i in (1, 2, 3)),
    ]
    put(folder, "participants.tsv", bend.bend(rng, bend.as_text(rng, people).encode()))
    runs = pd.DataFrame(
        [{**run, "bold": str(folder / "sub-01/func/sub-01_task-hands_bold.nii")}]
    )
    told = acquisition.read_acquisition(folder, folder, runs)
    json.dumps(told, default=str).encode("utf-8", "surrogatepass")
    return outcome(seconds)


BIDS = {
    **{
        "task": "hands",
        "space": "MNI152NLin2009cAsym",
        "participant_label": [],
        "exclude": {},
    },
    **{"incomplete_runs": "drop_run", "entities": {}},
}


def tree(rng, folder: Path) -> str:
    """A BIDS dataset and its derivatives, with files renamed, bent, doubled or gone."""
    raw, made = folder / "ds", folder / "ds" / "derivatives"
    files = {}
    for who in ("01", "02", "03"):
        stem = f"sub-{who}_task-hands_run-1"
        space = f"{stem}_space-{BIDS['space']}"
        files[raw / f"sub-{who}/func/{stem}_events.tsv"] = bend.as_text(
            rng, TRIALS
        ).encode()
        files[raw / f"sub-{who}/func/{stem}_bold.json"] = json.dumps(SIDECAR).encode()
        func = made / f"sub-{who}/func"
        files[func / f"{space}_desc-preproc_bold.nii.gz"] = b"x"
        files[func / f"{space}_desc-brain_mask.nii.gz"] = b"x"
        files[func / f"{stem}_desc-confounds_timeseries.tsv"] = b"x"
    listed = sorted(files)
    asked = copy.deepcopy(BIDS) | {"dataset": str(raw), "derivatives": str(made)}
    for _ in range(rng.randint(0, 3)):
        path = rng.choice(listed)
        kind = rng.randrange(5)
        if kind == 0:
            files.pop(path, None)
        elif kind == 1:
            name = (
                bend.bend(rng, path.name.encode(), 1)
                .replace(b"/", b"_")
                .replace(b"\0", b"_")
            )
            other = path.parent / name.decode("utf-8", "surrogateescape")[:200]
            files[other] = files.get(path, b"x")
        elif kind == 2 and path.suffix == ".json":
            files[path] = bend_json(rng, SIDECAR)
        elif kind == 3:
            files[path] = b"/annex/objects/MD5E-s1--1.nii.gz\n"
        else:
            key = rng.choice(
                ("participant_label", "exclude", "session", "resolution", "task")
            )
            odd = rng.choice(("01", "sub-02_run-1", *bend.ODD[:60]))
            asked[key] = {"participant_label": [odd], "exclude": {odd: "why"}}.get(
                key, odd
            )
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.write_bytes(content)
    index = attempt(lambda: bids.index_runs(asked))
    if index is REFUSED:
        return "refused"
    for column in bids.FILES:
        assert all(Path(path).is_file() for path in index.runs[column].dropna())
    index.runs.to_csv().encode("utf-8")
    return "read"


# --- Images --------------------------------------------------------------------------------------

SHAPE = (8, 9, 7)
AFFINE = np.diag([12.0, 12.0, 12.0, 1.0])
AFFINE[:3, 3] = [-42, -54, -30]
FIELDS = {
    "nifti1": {
        **{f"dim{i}": (40 + 2 * i, "h") for i in range(8)},
        **{f"pixdim{i}": (76 + 4 * i, "f") for i in range(8)},
        **{f"srow{i}": (280 + 4 * i, "f") for i in range(12)},
        **{f"quatern{i}": (256 + 4 * i, "f") for i in range(6)},
        **{
            "sizeof": (0, "i"),
            "datatype": (70, "h"),
            "bitpix": (72, "h"),
            "offset": (108, "f"),
        },
        **{
            "slope": (112, "f"),
            "inter": (116, "f"),
            "units": (123, "B"),
            "esize": (352, "i"),
        },
        **{
            "qform": (252, "h"),
            "sform": (254, "h"),
            "magic": (344, "i"),
            "extension": (348, "i"),
        },
        **{"intent": (68, "h")},
    },
    "nifti2": {
        **{f"dim{i}": (16 + 8 * i, "q") for i in range(8)},
        **{f"pixdim{i}": (104 + 8 * i, "d") for i in range(8)},
        **{f"srow{i}": (400 + 8 * i, "d") for i in range(12)},
        **{f"quatern{i}": (352 + 8 * i, "d") for i in range(6)},
        **{
            "sizeof": (0, "i"),
            "datatype": (12, "h"),
            "bitpix": (14, "h"),
            "offset": (168, "q"),
        },
        **{
            "slope": (176, "d"),
            "inter": (184, "d"),
            "units": (500, "i"),
            "qform": (344, "i"),
        },
        **{
            "sform": (348, "i"),
            "magic": (4, "q"),
            "extension": (540, "i"),
            "esize": (544, "i"),
        },
        **{"intent": (504, "i")},
    },
    "analyze": {
        **{f"dim{i}": (40 + 2 * i, "h") for i in range(8)},
        **{f"pixdim{i}": (76 + 4 * i, "f") for i in range(8)},
        **{f"origin{i}": (253 + 2 * i, "h") for i in range(3)},
        **{
            "sizeof": (0, "i"),
            "datatype": (70, "h"),
            "bitpix": (72, "h"),
            "offset": (108, "f"),
        },
        **{"slope": (112, "f")},
    },
}


def nifti(
    values: np.ndarray, kind, endian: str = "<", slope: float | None = None
) -> bytes:
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(values.dtype.newbyteorder(endian))
    image = kind(values, AFFINE, header)
    image.set_sform(AFFINE, code="mni")
    image.set_qform(AFFINE, code="mni")
    if slope is not None:
        image.header.set_slope_inter(slope, 1.0)
    return image.to_bytes()


def draw_image(rng, shape=SHAPE) -> tuple[str, dict[str, bytes], bool]:
    """Draw the files of an image (by name), whole or not; return the name to read."""
    seed = rng.randrange(100)
    values = (
        np.random.default_rng(seed)
        .integers(1, 9, shape)
        .astype(rng.choice(("f4", "i2", "u1", "f8")))
    )
    endian, form = (
        rng.choice("<>"),
        rng.choice(("nifti1", "nifti1", "nifti2", "analyze")),
    )
    if form == "analyze" and len(shape) == 3:
        image = nib.Spm2AnalyzeImage(values.astype("f4"), None)
        image.header.set_zooms([12.0] * 3)
        image.header["origin"][:3] = 5
        header = io.BytesIO()
        image.header.write_to(header)
        name, files = (
            "a.img",
            {"a.hdr": header.getvalue(), "a.img": values.astype("<f4").tobytes("F")},
        )
        endian, headed = "<", "a.hdr"
    else:
        form = "nifti1" if form == "analyze" else form
        kind = nib.Nifti1Image if form == "nifti1" else nib.Nifti2Image
        name = headed = "a.nii"
        files = {name: nifti(values, kind, endian)}
    intact = rng.random() < 0.15
    if not intact:
        for _ in range(rng.randint(1, 2)):
            own = rng.choice(sorted(files))
            if rng.random() < 0.65:
                files[headed] = bend.set_field(
                    rng, files[headed].ljust(556, b"\0"), FIELDS[form], endian
                )
            else:
                files[own] = bend.bend(rng, files[own])
    if name == "a.nii" and rng.random() < 0.5:
        name = "a.nii.gz"
        packed = gzip.compress(files.pop("a.nii"), 1, mtime=0)
        if not intact and rng.random() < 0.4:
            packed = bend.bend(rng, packed)
        if not intact and rng.random() < 0.1:
            packed += gzip.compress(bytes(10_000), 1, mtime=0)
        files[name] = packed
    return name, files, intact


@cache
def small_cloud() -> Cloud:
    points = np.array([[0.0, 0.0, 0.0], [6.0, 6.0, 6.0]])
    return Cloud(points, np.array([0, 1]), np.ones(2), ("one", "two"), np.ones(3))


def image(rng, folder: Path) -> str:
    """NIfTI-1, NIfTI-2, Analyze, packed or not: as volume, label image, atlas and download."""
    name, files, intact = draw_image(
        rng, rng.choice((SHAPE, SHAPE, (*SHAPE, 1), (*SHAPE, 3)))
    )
    for own, content in files.items():
        put(folder, own, content)
    path = folder / name
    if not intact and rng.random() < 0.05:
        path = path.rename(
            folder
            / rng.choice(
                ("a.mgz", "a.gii", "a.nii.bz2", "a.txt", "a.PAR", "a.dcm", "a")
            )
        )
    found = attempt(
        lambda: images.read_volume(path, "radiological", "sub-01"), "sub-01"
    )
    attempt(lambda: images.read_grid(path, None, "sub-01"), "sub-01")
    labelled = attempt(lambda: images.read_labels(path, "atlas x"), "atlas x")
    attempt(lambda: images.read_probabilities(path, [0, 2], "atlas x"), "atlas x")
    attempt(lambda: images.require_whole(path, "there"), "there")
    if found is not REFUSED:
        wanted = np.asarray(nib.load(path).dataobj, dtype=float).reshape(
            found.values.shape
        )
        assert np.array_equal(found.values, wanted, equal_nan=True)
        assert np.isfinite(found.grid.affine).all()
        extract.average(
            weigh(small_cloud(), found.grid.affine, found.grid.shape),
            found.values,
            zero_is_missing=True,
        )
    if labelled is not REFUSED:
        wanted = np.asarray(nib.load(path).dataobj, dtype=float).reshape(
            labelled.values.shape
        )
        assert np.array_equal(labelled.values, wanted)
    return outcome(found)


def run(rng, folder: Path) -> str:
    """A series and its mask, read within the mask and over regions."""
    name, files, intact = draw_image(rng, (*SHAPE, rng.choice((2, 5))))
    for own, content in files.items():
        put(folder, own, content)
    path = folder / name
    mask = put(folder, "mask.nii", nifti(np.ones(SHAPE, "u1"), nib.Nifti1Image))
    smoothing = rng.choice((0.0, 0.0, 6.0))
    found = attempt(
        lambda: bold.read_bold(path, mask, "sub-01", smoothing_mm=smoothing), "sub-01"
    )
    if found is REFUSED:
        assert not intact
        return "refused"
    weights = weigh(small_cloud(), found.grid.affine, found.grid.shape)
    attempt(lambda: bold.read_region_series(path, mask, weights, "sub-01"), "sub-01")
    if smoothing == 0:
        with np.errstate(all="ignore"):
            wanted = np.asarray(nib.load(path).dataobj)[np.ones(SHAPE, bool)].T.astype(
                "f4"
            )
            signal = found.block(slice(None))
        assert np.allclose(signal, wanted, rtol=1e-5, equal_nan=True)
    return "read"


# --- What handhold wrote itself, and what a server answers ---------------------------------------


def intermediates(rng, folder: Path) -> str:
    """Arrays, designs, tables and JSON of an earlier job, cut, changed or put there by others."""
    cloud = small_cloud()
    design = RunDesign(
        np.eye(3), ("a", "b", "c"), ("a",), np.ones(3, bool), 1.0, np.eye(3), ("a",) * 3
    )
    rows = pd.DataFrame(
        {"subject": ["01", "02"], "contrast": ["x", "y"], "relief": [1.5, -2.0]}
    )
    kind = rng.choice(("cloud", "design", "table", "json"))
    path = (
        folder
        / {"cloud": "c.npz", "design": "d.npz", "table": "t.tsv", "json": "j.json"}[
            kind
        ]
    )
    if kind == "cloud":
        tables.write_cloud(cloud, path)
    elif kind == "design":
        rundesign.save_designs({"sub-01": design}, path)
    elif kind == "table":
        tables.write_results(rows, path)
    else:
        tables.write_json({"a": [1, 2], "b": {"c": "x"}}, path)
    if kind in ("cloud", "design") and rng.random() < 0.05:
        np.savez(
            path,
            points=np.array([Trap()], dtype=object),
            runs=np.array([Trap()], dtype=object),
        )
    else:
        path.write_bytes(bend.bend(rng, path.read_bytes()))
    read = {
        "cloud": lambda: tables.read_cloud(path),
        "design": lambda: rundesign.load_designs(path),
        "table": lambda: (tables.read_results(path), tables.read_text(path)),
        "json": lambda: tables.read_json(path),
    }[kind]
    found = attempt(read, str(path))
    assert not Trap.sprung, "a pickle was opened"
    if found is not REFUSED and kind == "cloud":
        assert np.array_equal(found.points, cloud.points)
    return outcome(found)


class Trap:
    """What leaves a trace where a pickle is opened."""

    sprung = False

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.sprung = True
    return pickle.dumps(None)


PAGE = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
<Contents><Key>ds1/sub-01/func/x.nii.gz</Key><Size>12</Size><ETag>"abc"</ETag></Contents>
</ListBucketResult>"""
HEADERS = ("Content-Length", "Content-Range", "Retry-After", "ETag")
KNOWN = {"total": 100, "etag": '"a"', "validator": '"a"'}


class Answer:
    """As much of an HTTP answer as is looked at."""

    def __init__(self, status_code: int, headers: dict[str, str]):
        self.status_code, self.headers = status_code, headers


def answers(rng, folder: Path) -> str:
    """Listings, descriptions and headers of a server."""
    content = PAGE
    if rng.random() < 0.5:
        odd = rng.choice(
            (
                *bend.ODD,
                "..%2f..%2fx",
                "ds1/%2e%2e/x",
                "ds1/a%00",
                "%ff",
                "ds1/" + "y" * 300,
            )
        )
        content = content.replace(
            rng.choice(("ds1/sub-01/func/x.nii.gz", "12", "url", "false", "abc")), odd
        )
    body = content.encode("utf-8", "surrogatepass")
    if rng.random() < 0.5:
        body = bend.bend(rng, body)
    found = attempt(
        lambda: [
            *openneuro._contents(
                openneuro._parse_page(body, "https://there"), "https://there"
            )
        ],
        "https://there",
    )
    if found is not REFUSED:
        for key, n_bytes, _ in found:
            assert n_bytes >= 0
            if openneuro._path_fault(key, "ds1/") is None:
                inside = (folder / key.removeprefix("ds1/")).resolve()
                assert inside.is_relative_to(folder.resolve()), key
    attempt(
        lambda: openneuro._read_description(bend_json(rng, DESCRIBED), "there"), "there"
    )
    words = (
        *bend.ODD,
        "bytes 10-99/100",
        "bytes 10-99/*",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Mon, 1 Jan 99999",
    )
    answer = Answer(
        rng.choice((200, 206, 416)), {name: rng.choice(words) for name in HEADERS}
    )
    assert transfer._start(answer, rng.choice((None, KNOWN)), 10) in (None, 0, 10)
    total = transfer._total(answer)
    assert total is None or total >= 0
    assert not math.isnan(transfer._seconds(answer.headers["Retry-After"]))
    return outcome(found)


TARGETS = {
    "config": config,
    "table": table,
    "images table": images_table,
    "ratings": ratings_table,
    "registries": registries,
    "spheres": spheres,
    "label tables": labels,
    "events": events_file,
    "confounds": confounds,
    "sidecars": sidecars,
    "BIDS tree": tree,
    "image": image,
    "BOLD run": run,
    "intermediates": intermediates,
    "answers": answers,
}
csv.field_size_limit(10**6)
