import copy
import json
import re
from pathlib import Path

import pytest
import yaml

from handhold import spec
from handhold.errors import StudyError

ROOT = Path(__file__).parents[1]
KEYS = spec.keys()
SECTIONS = {path for path, entry in KEYS.items() if "properties" in entry}
LEAVES = sorted(set(KEYS) - SECTIONS - {"contrasts"})

SCHEMA = spec.schema()

# A study in which every section of images stands, so that a key can be put anywhere.
STUDY = {
    "study": "coan2006",
    "title": "Hand-holding",
    "source": "maps",
    "unit": "a.u.",
    "seed": 1,
    "maps": {
        "table": "images.tsv",
        "columns": {"subject": "id", "image": "file", "condition": "who", "cue": "cue"},
        "rename": {},
    },
    "ratings": {
        "table": "ratings.tsv",
        "subject": "id",
        "higher_is": "more_unpleasant",
        "long": {"condition": "who", "rating": "score"},
    },
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "regions": {},
    "receptors": {"target": "MOR", "panel": ["KOR"]},
    "tests": {},
    "nulls": {},
    "verdicts": {
        "rules": SCHEMA["properties"]["verdicts"]["properties"]["rules"]["default"]
    },
    "calibrate": {},
    "fetch": {},
}

# The same of simulated images, which alone has a section simulate.
SIMULATED = {
    name: entry for name, entry in STUDY.items() if name not in spec.IDLE["simulated"]
} | {"source": "simulated", "simulate": {"protocol": {}, "noise": {}}}

# The same of a dataset, which alone has sections bids and events.
BIDS = {
    name: entry for name, entry in STUDY.items() if name not in spec.IDLE["bids"]
} | {
    "source": "bids",
    "bids": {
        "dataset": "ds",
        "derivatives": "ds/fmriprep",
        "task": "hands",
        "openneuro": {"dataset": "ds000001"},
    },
    "events": {
        "cells": [
            {"trial_type": "threat", "cue": "threat"},
            {"trial_type": "safe", "cue": "safe"},
        ],
        "condition": {"column": "hand"},
    },
    "fmriprep": {},
    "glm": {},
    "confounds": {},
}
# And with ratings that stand in the events.
RATED = {
    **BIDS,
    "events": {**BIDS["events"], "rating": {"column": "rating"}},
    "ratings": {"higher_is": "more_unpleasant", "events": {}},
}


def study_of(path):
    """Return the study in which a key has an effect."""
    section = re.split(r"[.\[]", path)[0]
    if path.startswith(("ratings.events", "events.rating")):
        return RATED
    if section in ("bids", "fmriprep", "events", "glm", "confounds"):
        return BIDS
    return SIMULATED if section == "simulate" else STUDY


@pytest.fixture(autouse=True)
def _schema_read_once(monkeypatch):
    """Spare each of several hundred tests the .1 s of reading the schema."""
    monkeypatch.setattr(spec, "schema", lambda: copy.deepcopy(SCHEMA))


def changed(path, value, config=None):
    """Return a copy of the study with one key, named by its dotted path, put to a value."""
    config = copy.deepcopy(study_of(path) if config is None else config)
    *parents, last = re.sub(r"\[\]", ".0", path).split(".")
    inner = config
    for parent in parents:
        inner = inner[int(parent) if parent.isdigit() else parent]
    inner[last] = value
    return config


def without(path):
    config = copy.deepcopy(study_of(path))
    *parents, last = re.sub(r"\[\]", ".0", path).split(".")
    inner = config
    for parent in parents:
        inner = inner[int(parent) if parent.isdigit() else parent]
    inner.pop(last, None)
    return config


def faults(config):
    with pytest.raises(StudyError) as caught:
        spec.resolve(config)
    lines = str(caught.value).splitlines()
    found = [line[4:] for line in lines if line.startswith("  - ")]
    number = "1 fault:" if len(found) == 1 else f"{len(found)} faults:"
    assert lines[0] == f"the configuration has {number}"
    assert lines[-1] == "config/README.md explains every key."
    return found


# --- A sound configuration ------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.yaml", "wager2008.yaml"])
def test_the_studies_of_the_repository_resolve(name):
    config = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
    resolved = spec.resolve(config)
    assert resolved["tests"]["n_permutations"] == 9999
    assert spec.resolve(resolved) == resolved


def test_defaults_are_filled_and_what_is_given_stays():
    config = changed("tests.level", 0.9)
    before = copy.deepcopy(config)
    resolved = spec.resolve(config)
    defaults = {id(study): spec.resolve(study) for study in (SIMULATED, BIDS, RATED)}
    assert config == before
    assert resolved["tests"]["level"] == 0.9
    assert resolved["receptors"]["panel"] == ["KOR"]
    given = {"tests.level", "receptors.panel"}
    for path, entry in KEYS.items():
        if "default" in entry and path in LEAVES and path not in given:
            inner = defaults.get(id(study_of(path)), resolved)
            for part in path.split("."):
                inner = inner[part]
            assert inner == entry["default"], path


def test_a_filled_default_is_nobody_elses():
    spec.resolve(STUDY)["regions"]["definitions"].append("mine")
    assert spec.resolve(STUDY)["regions"]["definitions"] == ["aal3"]


def test_keys_without_a_default_stay_absent():
    resolved = spec.resolve(STUDY)
    assert "seed" not in resolved["nulls"]
    assert "analyze_orientation" not in resolved["maps"]


@pytest.mark.parametrize(
    "config", [STUDY, SIMULATED, BIDS], ids=["maps", "simulated", "bids"]
)
def test_a_resolved_study_resolves_to_itself(config):
    resolved = spec.resolve(config)
    assert not set(spec.IDLE[config["source"]]) & set(resolved)
    assert spec.resolve(resolved) == resolved


def test_a_whole_number_is_whole_however_it_is_written():
    for path in ("tests.n_permutations", "nulls.n", "seed", "simulate.n_subjects"):
        resolved = spec.resolve(changed(path, 1.0e4))
        for part in path.split("."):
            resolved = resolved[part]
        assert isinstance(resolved, int)
        assert resolved == 10000


# --- Misspelled keys --------------------------------------------------------------------


def misspellings(name):
    """Drop a letter, or swap two; a name of one letter gets another."""
    middle = len(name) // 2
    swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]
    if len(name) == 1:
        return {name * 2}
    return {name[:middle] + name[middle + 1 :], swapped} - {name}


@pytest.mark.parametrize("path", list(KEYS))
def test_a_misspelled_key_is_refused_with_the_right_name(path):
    parent, _, name = path.rpartition(".")
    known = {
        other.rpartition(".")[2] for other in KEYS if other.rpartition(".")[0] == parent
    }
    for wrong in misspellings(name) - known:
        where = f"{parent}.{wrong}".lstrip(".")
        found = faults(changed(where, "x", without(path)))
        shown = where.replace("[]", "[0]")
        assert f"{shown} is not a key; did you mean {name}?" in found


def test_a_key_like_no_other_is_told_what_there_is():
    (found,) = faults(changed("nulls.qqqq", 1))
    assert found.startswith("nulls.qqqq is not a key; known here: families, n,")


def test_a_key_in_the_wrong_section_is_refused():
    assert faults(changed("n_permutations", 9999))
    assert faults(changed("nulls.n_permutations", 9999))


@pytest.mark.parametrize("section", [*sorted(SECTIONS), ""])
def test_no_section_takes_a_stranger(section):
    entry = KEYS[section] if section else spec.schema()
    assert entry["additionalProperties"] is False


# --- Wrong values ------------------------------------------------------------------------


def test_all_faults_are_listed_at_once():
    config = changed("tests.level", 1.5)
    config["nuls"] = {}
    del config["title"]
    config["verdicts"]["alpha"] = "0.05"
    config["regions"]["definitions"] = []
    config["maps"]["columns"].pop("subject")
    found = faults(config)
    assert len(found) == 6
    for part in (
        "tests.level: 1.5 ",
        "nuls is not a key; did you mean nulls?",
        "title is required: Title of the report",
        "verdicts.alpha: '0.05' is not of type 'number' (Largest p",
        "regions.definitions: [] ",
        "maps.columns.subject is required: Person",
    ):
        assert any(fault.startswith(part) for fault in found), part


@pytest.mark.parametrize("path", sorted(spec._required(spec.schema())))
def test_a_required_key_is_asked_for(path):
    found = faults(without(path))
    assert any(f"{path.replace('[]', '[0]')} is required" in fault for fault in found)


STRANGERS = {
    "string": [1, True, None, ["x"], {}],
    "integer": ["5000", 5000.5, True, None, float("nan"), [5000]],
    "number": ["0.9", True, None, float("nan"), float("inf"), -float("inf"), [0.9]],
    "boolean": ["true", "false", "no", 1, 0, None],
    "array": ["aal3", {"aal3": 1}, None, [1, "x"]],
    "object": ["x", ["x"], None],
}


@pytest.mark.parametrize("path", list(KEYS))
def test_a_value_of_another_type_is_refused(path):
    entry = KEYS[path]
    values = STRANGERS[entry["type"]] if "type" in entry else ["nonsense", 1, None]
    for value in values:
        where = path.replace("[]", "[0]")
        found = faults(changed(path, value))
        assert any(fault.startswith(where) for fault in found), value


def outside(entry):
    """Return numbers just outside the bounds of an entry, and those just inside."""
    step = 1 if entry["type"] == "integer" else 1e-9
    bad, good = [], []
    for key, sign in (("minimum", -1), ("maximum", 1)):
        if key in entry:
            bad.append(entry[key] + sign * step)
            good.append(entry[key])
    for key, sign in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1)):
        if key in entry:
            bad.append(entry[key])
            good.append(entry[key] + sign * step)
    return bad, good


BOUNDED = [path for path in LEAVES if outside({"type": "", **KEYS[path]}) != ([], [])]


@pytest.mark.parametrize("path", BOUNDED)
def test_the_range_of_a_number_is_kept(path):
    bad, good = outside(KEYS[path])
    for value in bad:
        assert faults(changed(path, value))[0].startswith(f"{path}: ")
    if path.endswith("coverage"):  # the second look may not be at more than the first
        other = {"min_coverage": 1, "sensitivity_coverage": 1e-12}
        other.pop(path.rpartition(".")[2])
        ((name, bound),) = other.items()
        config = changed(f"regions.{name}", bound)
    else:
        config = None
    for value in good:
        spec.resolve(changed(path, value, config))


@pytest.mark.parametrize("path", [p for p in LEAVES if "enum" in KEYS[p]])
def test_a_word_that_is_no_choice_is_refused_and_the_choices_named(path):
    found = faults(changed(path, "nonsense"))
    named = [fault for fault in found if fault.startswith(path.replace("[]", "[0]"))]
    assert all(f"'{choice}'" in " ".join(named) for choice in KEYS[path]["enum"])


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", ".x", "-x", "x\n", "é"])
def test_a_study_is_named_as_a_folder_can_be(name):
    assert faults(changed("study", name))[0].startswith("study: ")


@pytest.mark.parametrize("name", ["", "a b", "1st", "a\tb", "a-b", "a\n"])
def test_a_contrast_is_named_as_a_column_can_be(name):
    found = faults(changed("contrasts[].name", name))
    assert any(fault.startswith("contrasts[0].name: ") for fault in found)


def test_an_empty_file_is_a_fault_and_no_traceback():
    (found,) = faults(None)
    assert found.startswith("the file: None is not of type 'object'")


# --- Sections that do not go together ---------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"maps": None}, "source is maps, but there is no maps: "),
        ({"unit": None}, "source is maps, but there is no unit: Unit of the effects"),
        (
            {"source": "simulated", "ratings": None, "unit": None},
            "source is simulated, so that maps has no effect: remove it",
        ),
        (
            {"source": "simulated", "maps": None, "unit": None},
            "source is simulated, so that ratings has no effect: remove it",
        ),
        (
            {"source": "simulated", "maps": None, "ratings": None},
            "source is simulated, so that unit has no effect: remove it",
        ),
        ({"simulate": {}}, "source is maps, so that simulate has no effect: remove it"),
        (
            {"maps.image_template": "{id}.nii"},
            "maps.columns.image and maps.image_templ",
        ),
        ({"maps.columns.image": None}, "maps.columns.image and maps.image_template"),
        (
            {"maps.columns.variance": "v", "maps.variance_template": "{v}"},
            "maps.columns.variance and maps.variance_template",
        ),
        (
            {"maps.columns.cue": None},
            "give maps.columns.condition with maps.columns.cue",
        ),
        ({"maps.columns.contrast": "c"}, "or one of maps.columns.contrast"),
        ({"maps.contrast": "c"}, "maps.contrast"),
        ({"ratings.long": None}, "(given: none)"),
        ({"ratings.relief": {"partner": "x"}}, "(given: long, relief)"),
        ({"receptors.panel": ["MOR"]}, "receptors.panel repeats receptors.target"),
        (
            {"nulls.n_voxel": 998},
            "nulls.n_voxel is 998: give 0 (no voxels), or at least",
        ),
        (
            {"regions.min_coverage": 0.4},
            "regions.sensitivity_coverage (0.5) is above regions.min_coverage (0.4)",
        ),
        (
            {"ratings.long": None, "ratings.relief": {"partnr": "x"}},
            "ratings.relief: partnr is not the name of a contrast; did you mean partner?",
        ),
    ],
)
def test_sections_that_contradict_each_other_are_refused(changes, fault):
    config = STUDY
    for path, value in changes.items():
        config = changed(path, value, config)  # all of one study of images
        if value is None:
            config = json.loads(json.dumps(config), object_pairs_hook=_present)
    (found,) = faults(config)
    assert fault in found


@pytest.mark.parametrize(
    ("drift", "strategy", "fault"),
    [
        ("cosine", ["motion", "high_pass"], "hold the same cosines twice"),
        ("none", ["motion"], "nothing removes the scanner's drift"),
        ("cosine", ["compcor"], "has compcor without high_pass"),
    ],
)
def test_a_design_has_one_set_of_drifts(drift, strategy, fault):
    config = changed("confounds.strategy", strategy, changed("glm.drift", drift))
    (found,) = faults(config)
    assert fault in found
    spec.resolve(changed("confounds.strategy", [], changed("glm.drift", "cosine")))
    fmriprep = ["motion", "compcor", "high_pass"]
    spec.resolve(changed("confounds.strategy", fmriprep, changed("glm.drift", "none")))


def cells(*rows):
    """Cells of the trial types a, b, ..., each given by its cue and condition."""
    return [
        {"trial_type": name, "cue": cue, "condition": condition}
        for name, (cue, condition) in zip("abcdef", rows, strict=False)
    ]


FULL = cells(
    ("threat", "alone"), ("safe", "alone"), ("threat", "partner"), ("safe", "partner")
)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bids": None}, "source is bids, but there is no bids: The BIDS dataset"),
        ({"events": None}, "source is bids, but there is no events: What the events"),
        ({"unit": "a.u."}, "source is bids, so that unit has no effect: remove it"),
        ({"simulate": {}}, "source is bids, so that simulate has no effect: remove it"),
        (
            {"events.condition": None},
            "give events.condition, or a condition in every one of events.cells",
        ),
        (
            {"events.condition": None, "events.cells[].condition": "alone"},
            "give events.condition, or a condition in every one of events.cells",
        ),
        (
            {"events.cells": FULL},
            "events.condition and events.cells both name conditions",
        ),
        ({"events.condition": {}}, "give one of events.condition.column and"),
        (
            {"events.condition": {"column": "hand", "run": {"1": "alone"}}},
            "give one of events.condition.column and events.condition.run",
        ),
        (
            {
                "events.condition": None,
                "events.cells": FULL,
                "events.rename": {"a": "b"},
            },
            "events.rename has no effect without events.condition.column",
        ),
        (
            {"events.others": ["shock", "safe"]},
            "events: the trial type safe is given 2 times",
        ),
        (
            {"events.others": ["shock"], "events.ignore": ["shock"]},
            "events: the trial type shock is given 2 times",
        ),
        (
            {"events.rating.trial_type": "screen"},
            "events.rating.trial_type: put screen into events.others (modelled) or",
        ),
        (
            {
                "contrasts": [
                    {"name": "x", "image": "d", "direction": "held_minus_baseline"}
                ]
            },
            "contrasts: x is of images, and source is bids: give baseline and held",
        ),
        (
            {"events.condition": {"run": {"1": "alone", "2": "patner"}}},
            "contrasts: partner.held is partner, which is no condition of the events; "
            "did you mean patner?",
        ),
        (
            {"events.condition": None, "events.cells": FULL[:3]},
            "contrasts: partner.held is partner, for which events.cells has no safe trial",
        ),
        (
            {"events.condition": None, "events.cells": FULL[2:]},
            "contrasts: partner.baseline is alone, which is no condition of the events",
        ),
        (
            {"events.cells": [{"trial_type": "threat", "cue": "threat"}]},
            "for which events.cells has no safe trial type",
        ),
    ],
)
def test_sections_of_a_dataset_that_contradict_each_other_are_refused(changes, fault):
    config = RATED if "events.rating.trial_type" in changes else BIDS
    for path, value in changes.items():
        config = changed(path, value, config)
    found = faults(json.loads(json.dumps(config), object_pairs_hook=_present))
    assert fault in found[0]
    assert len(found) == 1 or all("no safe trial type" in each for each in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"events.condition": None, "events.cells": FULL},
        {"events.condition": {"run": {1: "alone", "02": "partner"}}},
        {"events.rename": {"spouse": "partner"}},
        {"events.rating.trial_type": "screen", "events.ignore": ["screen"]},
        {"events.rating.trial_type": "screen", "events.others": ["screen"]},
        {"events.rename": {}},
    ],
)
def test_what_events_can_be_is_taken(changes):
    config = RATED if "events.rating.trial_type" in changes else BIDS
    for path, value in changes.items():
        config = changed(path, value, config)
    config["events"] = _present(config["events"].items())
    spec.resolve(config)


def test_ratings_that_nothing_reads_are_refused():
    config = changed("events.rating", {"column": "rating"}, BIDS)
    (found,) = faults(config)
    assert "events.rating has no effect without ratings.events" in found
    spec.resolve(changed("glm.single_trials", True, config))


@pytest.mark.parametrize("source", ["simulated", "maps"])
def test_sections_of_a_dataset_are_of_no_effect_elsewhere(source):
    study = {"simulated": SIMULATED, "maps": STUDY}[source]
    found = faults({**study, "bids": BIDS["bids"], "events": BIDS["events"]})
    assert found == [
        f"source is {source}, so that {name} has no effect: remove it"
        for name in ("bids", "events")
    ]


def _present(pairs):
    return {key: value for key, value in pairs if value is not None}


LAST = {"if": [], "verdict": "inconclusive", "reason": "open"}
SHOWN = {"if": ["p_passes", "positive"], "verdict": "supported", "reason": "shown"}


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([SHOWN], "the last line has facts"),
        ([LAST, SHOWN, LAST], "verdicts.rules[1] is never reached: verdicts.rules[0]"),
        ([SHOWN, {**LAST, "if": ["positive", "p_passes", "bf_for"]}, LAST], "rules[1]"),
        ([{**SHOWN, "if": ["p_passes"]}, LAST], "rules[0] supports without positive"),
        ([{**SHOWN, "if": ["positive"]}, LAST], "rules[0] supports without p_passes"),
        (
            [{**LAST, "verdict": "evidence against"}],
            "rules[0] says evidence against with",
        ),
        (
            [{**LAST, "if": ["negative"], "verdict": "evidence against"}, LAST],
            "rules[0] says evidence against without",
        ),
        ([{**LAST, "if": ["negative", "positive"]}, LAST], "no effect is positive and"),
    ],
)
def test_a_rule_table_has_no_line_in_vain_and_supports_nothing_unshown(rules, fault):
    assert any(fault in found for found in faults(changed("verdicts.rules", rules)))


def test_a_sound_rule_table_is_taken():
    rules = [{**SHOWN, "if": ["p_passes", "positive", "bf_for"]}, SHOWN, LAST]
    config = changed("verdicts.rules", rules)
    assert spec.resolve(config)["verdicts"]["rules"] == rules
    (found,) = faults(changed("verdicts.rules", [{**LAST, "if": ["p_pases"]}, LAST]))
    assert "'p_passes'" in found


def test_a_name_given_twice_is_refused():
    contrasts = [*STUDY["contrasts"], *STUDY["contrasts"]]
    assert faults({**STUDY, "contrasts": contrasts}) == [
        "contrasts: the name partner is given 2 times"
    ]


@pytest.mark.parametrize(
    "contrast",
    [
        {"name": "a"},
        {"name": "a", "baseline": "x"},
        {"name": "a", "image": "x"},
        {"name": "a", "direction": "baseline_minus_held"},
        {"name": "a", "baseline": "x", "held": "y", "image": "z"},
        {"name": "a", "image": "z", "direction": "baseline_minus_held", "held": "y"},
    ],
)
def test_a_contrast_is_of_cells_or_of_images_and_no_mixture(contrast):
    (found,) = faults({**STUDY, "contrasts": [contrast]})
    assert found.startswith("contrasts[0]: give baseline and held")


# --- What the schema owes its reader ------------------------------------------------------


@pytest.mark.parametrize("path", list(KEYS))
def test_every_key_says_what_it_is_and_why(path):
    entry = KEYS[path]
    assert entry["description"].strip()
    assert "type" in entry or "enum" in entry
    if path in LEAVES:
        assert entry["reason"].strip()
    if entry.get("type") in ("integer", "number"):
        ranged = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}
        assert ranged & set(entry) or path == "simulate.base_attenuation"
    if "default" in entry:
        spec.resolve(changed(path, entry["default"]))


def test_the_page_is_written_from_the_schema():
    page = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert page == spec.document(), "python -m handhold.spec > config/README.md"
    for path in KEYS:
        assert f"| `{path}` |" in page


def sources_of_use():
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
    files += sorted((ROOT / "workflow/handhold").glob("*.py"))
    return "\n".join(
        file.read_text(encoding="utf-8") for file in files if file.name != "spec.py"
    )


@pytest.fixture(scope="module")
def used():
    return sources_of_use()


@pytest.mark.parametrize("path", LEAVES)
def test_every_key_is_used(path, used):
    name = path.rpartition(".")[2]
    if path.startswith("simulate."):  # these become the fields of a cohort
        assert re.search(rf"^    {name}: (int|float|str)", used, flags=re.MULTILINE)
    elif name.endswith("_template"):
        assert re.search(rf"""["']{name}["']""", used)
        assert '_template"' in used
    else:
        assert re.search(rf"""["']{name}["']""", used)


def test_streams_of_random_numbers_differ_by_purpose_and_seed():
    draws = {
        (seed, purpose): spec.random_stream(seed, purpose).random()
        for seed in (0, 1)
        for purpose in ("test_attenuation", "test_tracking")
    }
    assert len(set(draws.values())) == 4
    assert spec.random_stream(1, "test_tracking").random() == draws[1, "test_tracking"]
