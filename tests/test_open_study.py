"""A study from BOLD as the workflow sees it at parse time, before any file is there."""

from dataclasses import replace

import pytest

from handhold.errors import StudyError
from handhold.study import open_study

STUDY = {
    "study": "opened",
    "title": "Opened",
    "source": "simulated",
    "seed": 1,
    "simulate": {"n_subjects": 20},
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "receptors": {"target": "MOR_modelled"},
}


def test_every_person_and_needed_cell_is_in_the_manifest():
    study = open_study(STUDY)
    assert len(study.manifest.subjects) == 20
    assert study.cells == [
        *(("alone", "threat"), ("alone", "safe")),
        *(("partner", "threat"), ("partner", "safe")),
    ]
    assert len(study.manifest.images) == 20 * 4
    assert len(study.runs) == 20 * 3
    assert study.rated == ("partner",)


@pytest.mark.parametrize(
    ("contrast", "fault"),
    [
        (
            {"name": "p", "baseline": "Alone", "held": "partner"},
            "p: Alone is no baseline condition; did you mean alone?",
        ),
        (
            {"name": "p", "baseline": "alone", "held": "partnr"},
            "p: partnr is no held condition; did you mean partner?",
        ),
        (
            {"name": "p", "image": "x", "direction": "baseline_minus_held"},
            "p: none is no baseline condition",
        ),
    ],
)
def test_contrasts_of_what_is_not_simulated_are_refused_before_anyone_is(
    contrast, fault
):
    with pytest.raises(StudyError, match="contrasts of a simulated study") as caught:
        open_study({**STUDY, "contrasts": [contrast]})
    assert fault in str(caught.value)


def test_a_batch_keeps_its_people_when_another_comes():
    def batches(n):
        found = open_study({**STUDY, "simulate": {"n_subjects": n}})
        held = [label for own in found.batches.values() for label in own]
        assert sorted(held) == sorted(found.labels)
        assert all(found.batch_of(label) for label in found.labels)
        return {label: found.batch_of(label) for label in found.labels}

    twenty = batches(20)
    assert batches(21).items() >= twenty.items()
    assert len(set(twenty.values())) > 1
    assert set(batches(3).values()) == {"0000"}


def test_what_components_were_made_from_is_an_input_where_they_are_taken():
    compcor = {
        "confounds": {"strategy": ["motion", "compcor", "high_pass"]},
        "glm": {"drift": "none"},
    }
    for config, wanted in ((STUDY, 0), ({**STUDY, **compcor}, 3)):
        files = open_study(config).files(["01"], ("confounds",))
        assert sum(path.endswith("_timeseries.json") for path in files) == wanted
        assert sum(path.endswith("_timeseries.tsv") for path in files) == 3


def test_words_of_the_events_are_those_of_the_ratings():
    assert open_study(STUDY).config["maps"]["rename"]["condition"] == {}


def test_what_single_trials_need_is_said_with_its_key():
    trial = {**STUDY["simulate"], "ratings": "trial"}
    for changes, said, attenuation, relief in (
        ({}, "simulate.ratings: trial", "images", "ratings"),
        ({"simulate": trial}, "glm.single_trials", "images", "ratings"),
        ({"simulate": trial, "glm": {"single_trials": True}}, "", "trials", "trials"),
        (
            {"glm": {"single_trials": True}},
            "simulate.ratings: trial",
            "trials",
            "ratings",
        ),
    ):
        study = open_study({**STUDY, **changes})
        assert said in study.no_trials
        assert bool(said) == bool(study.no_trials)
        assert study.basis == {"attenuation": attenuation, "relief": relief}
        assert study.n_repeats == 1


def test_the_dominance_analysis_holds_the_target_and_at_most_eleven_others():
    panel = ["decoy_front", "decoy_dorsal", "decoy_patches_1"]
    receptors = {"target": "MOR_modelled", "panel": panel}
    assert open_study({**STUDY, "receptors": receptors}).dominance == [
        "MOR_modelled",
        *panel,
    ]
    chosen = {**receptors, "dominance": ["decoy_dorsal"]}
    found = open_study({**STUDY, "receptors": chosen}).dominance
    assert found == ["MOR_modelled", "decoy_dorsal"]
    unknown = {**receptors, "dominance": ["decoy_dorsal", "decoy_patches_2"]}
    with pytest.raises(StudyError, match="decoy_patches_2 is not in"):
        open_study({**STUDY, "receptors": unknown})


@pytest.mark.parametrize(
    ("changes", "rated", "known"),
    [
        ({}, ("partner",), True),
        ({"ratings": {"long": {}}}, ("partner",), True),
        ({"ratings": {"relief": {"partner": "x"}}}, ("partner",), False),
        ({"contrasts": [{"name": "partner", "image": "x"}]}, ("partner",), False),
        ({}, ("stranger",), False),
        ({}, (), False),
    ],
)
def test_baselines_are_known_of_cells_and_of_scores_by_condition(changes, rated, known):
    study = open_study(STUDY)
    changed = replace(study, config={**study.config, **changes}, rated=rated)
    assert changed.baselines_known == known


def test_an_atlas_without_cortex_and_subcortex_is_no_parcellation():
    with pytest.raises(StudyError, match=r"aal3 .* ROIs only.*: hcpex, ") as caught:
        open_study({**STUDY, "regions": {"parcels": "aal3"}})
    # what it offers instead can be taken
    listed = str(caught.value).rpartition("parcels: ")[2].rstrip(".").split(", ")
    assert "aal" not in listed
    assert open_study({**STUDY, "regions": {"parcels": listed[0]}})


def test_an_atlas_that_no_address_brings_says_what_brings_it():
    with pytest.raises(StudyError, match="2 atlas files do not exist") as caught:
        open_study({**STUDY, "regions": {"definitions": ["harvard_oxford"]}})
    assert "atlas harvard_oxford, from: FSL, cortical and" in str(caught.value)
    assert "harvard_oxford_subcortical can be fetched" in str(caught.value)
