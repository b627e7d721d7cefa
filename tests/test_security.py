"""Nothing that a study names or holds is run, written elsewhere, or taken for a page's own words.

Beside these: what a shell or a container would read otherwise (test_fmriprep), what a server
answers (test_fetch, test_public), a hostile page in Chromium (test_browser), pickles and YAML tags
(test_fuzz).
"""

import ast
import json
import re
import shutil
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import browser
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from brains import AFFINE, SHAPE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_study import Checkout

from handhold import atlases, bids, fmriprep, io, spec, tables
from handhold.errors import StudyError
from handhold.sources import file_label
from handhold.study import open_study

ROOT = Path(__file__).parents[1]
CODE = sorted((ROOT / "workflow").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]

# --- What runs what stands in a file -------------------------------------------------------------

# Calls that run text, or rebuild objects that a file describes.
RUNNING = {"eval", "exec", "compile", "__import__", "execfile"}
FORBIDDEN = {
    *(
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "marshal",
        "shelve",
        "joblib",
    ),
    *("pty", "commands", "xmlrpc", "telnetlib", "ctypes"),
}
METHODS = {
    *(
        "system",
        "popen",
        "read_pickle",
        "unsafe_load",
        "full_load",
        "load_all",
        "extractall",
    ),
    *(
        "to_pickle",
        "execv",
        "execvp",
        "spawnl",
        "spawnv",
        "startfile",
        "import_module",
        "mktemp",
    ),
}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "loader"}
# The one module that starts programs, without a shell.
STARTS = {"fmriprep.py"}


def dangers(text, name=""):
    """List what may run a user's words, in the code of a file."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            named = {module, *(alias.name for alias in node.names)}
            roots = {each.partition(".")[0] for each in named}
            found += sorted(roots & FORBIDDEN)
            if "subprocess" in roots and name not in STARTS:
                found.append("subprocess")
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        own = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        of = (
            called.value.id
            if isinstance(getattr(called, "value", None), ast.Name)
            else ""
        )
        given = {word.arg: word.value for word in node.keywords}
        is_builtin = isinstance(called, ast.Name)
        if (own in RUNNING and is_builtin) or own in METHODS:
            found.append(own)
        if "shell" in given and getattr(given["shell"], "value", True):
            found.append("shell")
        if own == "load" and of == "yaml":
            loader = given.get("Loader")
            if getattr(loader, "attr", getattr(loader, "id", "")) not in SAFE_LOADERS:
                found.append("yaml.load")
        if own == "load" and of in ("np", "numpy"):
            allowed = given.get("allow_pickle")
            if not (isinstance(allowed, ast.Constant) and allowed.value is False):
                found.append("np.load")
    return found


@pytest.mark.parametrize(
    ("text", "danger"),
    [
        ("eval(x)", "eval"),
        ("exec(open(p).read())", "exec"),
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("import numpy, joblib", "joblib"),
        ("yaml.load(text)", "yaml.load"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("yaml.load(text, Loader=yaml.FullLoader)", "yaml.load"),
        ("yaml.unsafe_load(text)", "unsafe_load"),
        ("np.load(p)", "np.load"),
        ("np.load(p, allow_pickle=True)", "np.load"),
        ("pd.read_pickle(p)", "read_pickle"),
        ("import subprocess", "subprocess"),
        ("run(x, shell=True)", "shell"),
        ("run(x, shell=chosen)", "shell"),
        ("os.system(x)", "system"),
        ("archive.extractall(p)", "extractall"),
        ("importlib.import_module(name)", "import_module"),
    ],
)
def test_what_runs_words_of_others_is_found(text, danger):
    assert danger in dangers(text)


def test_what_reads_only_is_no_danger():
    text = "yaml.load(t, Loader=yaml.SafeLoader)\nnp.load(p, allow_pickle=False)\nre.compile(p)"
    assert dangers(text) == []
    assert dangers("import subprocess\nsubprocess.run(x)", "fmriprep.py") == []


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_no_code_runs_what_a_user_wrote(path):
    assert dangers(path.read_text("utf-8"), path.name) == []


def test_the_one_loader_that_is_named_by_a_variable_is_safe():
    # `loader` of spec and io: libyaml's where it is there
    for module in (spec, io):
        source = Path(module.__file__).read_text("utf-8")
        named = re.findall(r"^ *loader = (.*)$", source, re.MULTILINE)
        assert named
        assert all("SafeLoader" in one for one in named)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_has_a_shell(path):
    text = path.read_text("utf-8")
    assert (
        re.search(r"^\s*(shell|run|wrapper|notebook|cwl)\s*:", text, re.MULTILINE)
        is None
    )
    assert re.search(r"\b(shell|eval|exec|os\.system|subprocess)\s*[.(]", text) is None


# --- Where files go ------------------------------------------------------------------------------

STUDY = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "/x",
            "a/b",
            "a\\b",
            ".",
            "..",
            "",
            " ",
            "a b",
            "~",
            "-rf",
            "a\0b",
            "a\n",
            "é",
        ),
        *(
            "CON",
            "nul",
            "Com1",
            "x" * 101,
            "$(id)",
            "a;b",
            "{x}",
            ".hidden",
            1,
            None,
            ["a"],
        ),
    ],
    ids=repr,
)
def test_a_study_is_named_as_one_folder(name):
    with pytest.raises(StudyError, match=r"study|title|character"):
        spec.resolve({**STUDY, "study": name})
    # where the configuration is refused, and fetch goes on without it
    assert spec.results_folder({"study": name}) == "results/unnamed"
    assert spec.resolve({**STUDY, "study": "x" * 100})
    assert spec.resolve({**STUDY, "study": "console"})


@pytest.mark.parametrize("name", ["../x", "a/b", "x" * 61, "a\n", "é", "1a", ""])
def test_a_contrast_is_named_as_a_part_of_a_file_name(name):
    contrast = {**STUDY["contrasts"][0], "name": name}
    with pytest.raises(StudyError, match=r"contrasts\[0\]\.name"):
        spec.resolve({**STUDY, "contrasts": [contrast]})


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(st.sets(st.text(max_size=80), min_size=2, max_size=5))
def test_a_person_has_a_file_name_of_their_own(labels):
    labels = {label for label in labels if label.isprintable()}
    named = {label: file_label(label) for label in labels}
    assert all(re.fullmatch("[A-Za-z0-9]{1,60}", name) for name in named.values())
    assert len({*named.values()}) == len(labels)


def test_a_link_among_the_results_is_replaced_and_not_followed(tmp_path):
    outside, link = tmp_path / "outside.tsv", tmp_path / "results" / "relief.tsv"
    outside.write_text("mine")
    link.parent.mkdir()
    link.symlink_to(outside)
    io.write_text("theirs", link)
    assert outside.read_text() == "mine"
    assert link.read_text() == "theirs"
    assert not link.is_symlink()


def test_a_definition_of_rois_is_no_path(tmp_path):
    rows = ["definition\tregion\themisphere\trole\tatlas\tlabels\tsource"]
    rows += ["../x\tacc\tleft\thypothesised\taal3\tACC_pre_L\tmine"]
    path = tmp_path / "rois.tsv"
    path.write_text("\n".join(rows))
    with pytest.raises(StudyError, match=r"\.\./x holds a /"):
        atlases.read_definitions(path, ["../x"])


@pytest.mark.parametrize("name", ["sub---option", "sub-\x1b[2J", "sub-\udcff"])
def test_a_folder_of_a_person_is_no_option_and_is_text(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(StudyError, match="is no name of a subject"):
        bids.list_people(
            {"dataset": str(tmp_path), "derivatives": str(tmp_path), "task": "x"}
        )


def test_a_container_is_no_option_of_docker():
    section = {
        "run": True,
        "license_file": "x",
        "engine": "docker",
        "image": "--privileged",
    }
    with pytest.raises(StudyError, match=r"fmriprep\.image"):
        spec.resolve({**STUDY, "fmriprep": section})


def test_what_starts_programs_gives_them_a_list(tmp_path):
    log = tmp_path / "log.txt"
    fmriprep.run(["printf", "%s", "$(id); `id` | x"], log)
    assert log.read_text() == "$(id); `id` | x"


# --- Words of others in everything that is written -----------------------------------------------

EVIL = (
    "<script>window.hit=1</script><img src=x onerror=window.hit=1>\"'&amp; %s ../../x"
)
TEX = r"\input /etc/passwd $x^2$ 50% a_b #1 ~ \\"
# Snakemake would fill in what stands between braces: they are refused in what rules are given.
BRACED = r"\input{/etc/passwd} {y} {{7*7}}"
PEOPLE = ["../../x1", "a/b", "CON", "=1+1", "Zoë 手", f"{EVIL} {TEX}", "01", "-rf"]
# Of each name, that of a map is a part of no file and may be no text but letters.
RECEPTORS = ["MOR_x", "KOR_x", "D1_x"]


def write_study(folder):
    """Write images, ratings, maps and registries in which every text is hostile."""
    rng = np.random.default_rng(1)
    data = folder / "data"
    data.mkdir()
    ones = np.ones(SHAPE)

    def image(name, centre):
        smooth = rng.normal(size=SHAPE)
        for axis in range(3):
            smooth = sum(np.roll(smooth, shift, axis) for shift in (-1, 0, 1)) / 2
        nib.save(nib.Nifti1Image((smooth + centre).astype("f4"), AFFINE), data / name)

    rows = []
    for i, who in enumerate(PEOPLE):
        image(f"image {i} $(touch hacked).nii.gz", -1.0)
        score = f"{rng.normal():.3f}"
        rows.append([who, f"image {i} $(touch hacked).nii.gz", score, "", f"g {EVIL}"])
    rows.append(["left", "x.nii.gz", "1", f"{EVIL} {TEX}", f"g {EVIL}"])
    table = pd.DataFrame(rows, columns=["id", "file", "score", "why", "group"])
    table.to_csv(data / "images.tsv", sep="\t", index=False, quoting=3)
    maps = []
    for name in RECEPTORS:
        image(f"{name} & b;.nii.gz", 10.0)
        maps.append(
            {
                **{"receptor": name, "label": f"{name} {EVIL}", "kind": "PET"},
                **{
                    "unit": f"{TEX} {EVIL}",
                    "file": f"{name} & b;.nii.gz",
                    "background": "nan",
                },
                **{
                    "negative": "keep",
                    "citation": f"{EVIL} {TEX}",
                    "doi": f"10.1/{EVIL}",
                },
                **{"licence": EVIL, "note": f"{EVIL} {TEX}", "checksum": ""},
            }
        )
    pd.DataFrame(maps).to_csv(data / "receptors.tsv", sep="\t", index=False, quoting=3)
    rois = [
        {
            **{
                "definition": f"d {EVIL.replace('/', '|')}",
                "region": f"r{i} {EVIL} {BRACED}",
            },
            **{
                "hemisphere": "left",
                "role": "hypothesised",
                "atlas": "sphere",
                "labels": "",
            },
            **{
                "centre": f"{20 * i - 20} 20 10",
                "radius": "14",
                "source": f"{EVIL} {BRACED}",
            },
        }
        for i in range(3)
    ]
    pd.DataFrame(rois).to_csv(data / "rois.tsv", sep="\t", index=False, quoting=3)
    assert ones.size
    return {
        **{
            "study": "hostile",
            "title": f"{EVIL} {TEX} </title>",
            "source": "maps",
            "seed": 1,
        },
        **{"data_root": str(data), "unit": f"{EVIL} {TEX}", "act": f"{EVIL} {TEX}"},
        "maps": {
            **{"table": "images.tsv", "columns": {"subject": "id", "image": "file"}},
            **{
                "contrast": EVIL,
                "exclude_column": "why",
                "include": {"group": [f"g {EVIL}"]},
            },
        },
        "ratings": {
            **{"table": "images.tsv", "subject": "id", "relief": {"held": "score"}},
            **{"higher_is": "more_relief", "label": f"{EVIL} {TEX}"},
        },
        "contrasts": [
            {"name": "held", "image": EVIL, "direction": "held_minus_baseline"}
        ],
        "regions": {
            **{"rois": str(data / "rois.tsv"), "definitions": [rois[0]["definition"]]},
            **{
                "min_parcel_voxels": 1,
                "min_coverage": 0.1,
                "sensitivity_coverage": 0.1,
            },
        },
        "receptors": {
            **{"table": str(data / "receptors.tsv"), "target": "MOR_x"},
            **{"panel": RECEPTORS[1:]},
        },
        "tests": {"n_permutations": 999, "n_bootstrap": 999},
        "nulls": {"n": 999, "n_voxel": 0, "families": ["moran", "gaussian"]},
    }


def files_outside(folder, own):
    ignored = {".snakemake", "__pycache__"}
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file()
        and not ignored & {*path.parts}
        and not path.is_relative_to(own)
    }


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Run a study of hostile words; yield its results, and what else was there before."""
    folder = tmp_path_factory.mktemp("hostile") / "checkout"
    folder.mkdir()
    made = Checkout(folder)
    config = write_study(folder)
    (folder / "study.yaml").touch()
    before = files_outside(folder.parent, made.results("hostile"))
    made.run(config)
    return made, before


@pytest.mark.slow
def test_a_study_of_hostile_words_writes_into_its_results_alone(hostile):
    made, before = hostile
    assert files_outside(made.folder.parent, made.results("hostile")) == before
    names = [path.name for path in made.results("hostile").rglob("*")]
    assert names
    assert all(re.fullmatch(r"\.?[A-Za-z0-9][\w.-]*", name) for name in names)


@pytest.mark.slow
def test_a_page_of_hostile_words_runs_none_of_them(hostile, chromium):
    made, _ = hostile
    page_of = made.results("hostile") / "report.html"
    with browser.visit(chromium, page_of) as (page, complaints):
        assert page.evaluate("window.hit") is None
        assert page.locator("img[src=x]").count() == 0
        # what was written is shown as it was written
        assert EVIL in page.title()
        assert EVIL in page.locator("body").text_content()
    assert complaints == []


@pytest.mark.slow
def test_figures_and_tables_of_hostile_words_hold_them_as_text(hostile):
    made, _ = hostile
    folder = made.results("hostile")
    for path in folder.rglob("*.svg"):
        tree = ET.fromstring(path.read_text("utf-8"))
        tags = {element.tag.rpartition("}")[2] for element in tree.iter()}
        assert not tags & {"script", "img", "foreignObject", "iframe"}
        assert not [
            name for e in tree.iter() for name in e.attrib if name.startswith("on")
        ]
    for path in folder.rglob("*.html"):
        if path.name != "report.html":
            assert "<script" not in path.read_text("utf-8")
            assert "<img" not in path.read_text("utf-8")
    for path in [*folder.rglob("*.tex"), *folder.rglob("*.bib")]:
        # what TeX would obey: \input, and braces that nobody closed
        text = path.read_text("utf-8")
        assert r"\input{" not in text, path
        bare = re.sub(r"\\[{}\\]", "", text)
        assert bare.count("{") == bare.count("}"), path
    for path in folder.rglob("*.json"):
        json.loads(path.read_text("utf-8"))


@pytest.mark.slow
def test_a_table_keeps_what_a_spreadsheet_would_run(hostile):
    """=1+1 is a person's label: changed, it would be another person (see write_results)."""
    made, _ = hostile
    for name in ("relief", "attenuation/rois"):
        people = io.read_text(made.results("hostile") / f"{name}.tsv")["subject"]
        assert {*people} == {*PEOPLE}


@pytest.mark.parametrize(
    "text", [EVIL, TEX, BRACED, "\x00", "\ud800", "</script>", "a\nb"]
)
def test_words_for_tex_and_html_are_escaped(text):
    # < and > are written as formulas
    shown = re.sub(r"\$[<>]\$", "", tables.escape_latex(text))
    assert not re.search(r"(?<!\\)[&%$#_]", shown)
    assert r"\input{" not in shown


def test_every_person_of_a_hostile_table_is_looked_up_by_their_own_label(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    study = open_study(write_study(tmp_path))
    assert [*study.labels.values()] == PEOPLE
    assert all(label.isalnum() and label.isascii() for label in study.labels)
    assert study.folder == "results/hostile"


@pytest.mark.parametrize("odd", ["{x}", "<x>", "{", ">"])
def test_a_path_that_snakemake_would_fill_in_is_refused(odd, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = write_study(tmp_path)
    data = tmp_path / "data"
    for name, column in (("images.tsv", "file"), ("receptors.tsv", "file")):
        table = pd.read_csv(data / name, sep="\t", dtype=str, quoting=3)
        old, new = table[column][0], f"{odd}.nii.gz"
        shutil.copy(data / old, data / new)
        text = (data / name).read_text()
        (data / name).write_text(text.replace(old, new))
        with pytest.raises(StudyError, match="fill something in"):
            open_study(config)
        (data / name).write_text(text)
    open_study(config)


def test_nothing_else_is_declared_that_runs_code():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "entry-points" not in project["project"]
    assert shutil.which("sh")
