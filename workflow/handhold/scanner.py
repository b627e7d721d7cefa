"""Simulate what a scanner would record: BOLD series, head motion, and fMRIPrep's confounds.

    series[t, v] = intensity[v] * (1 - dropout[v]) * (1 + sum of responses[t, v] / 100)
                   + intensity[v] * noise[t, v] / 100

The unit of an effect is that of the first level: % signal change at the peak of the response
to one event of 6 s. `simulate.Noise` explains the noise.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import phantom
from handhold.simulate import (
    OTHER_SHARES,
    Cohort,
    Template,
    block_order,
    dropout_depth,
    simulate_effects,
    simulate_events,
    stream,
    trial_sizes,
)

# SPM's canonical response: shapes of the gamma densities of the response and of its
# undershoot (scale 1 s), weight of the latter, and where it ends (s).
RESPONSE_SHAPE, UNDERSHOOT_SHAPE, UNDERSHOOT_WEIGHT, RESPONSE_END_S = 6, 16, 0.167, 32.0
# An effect is the peak of the response to one event of this duration (`glm.peak_duration_s`).
PEAK_DURATION_S = 6.0
# A volume stands for the middle of its acquisition, as slice timing to 0.5 leaves it.
SLICE_TIME_REF = 0.5

# Intensity of grey matter, and the step in which the scanner counts: 0.8 % of it, less than
# the noise, which makes it harmless; a finer step fills the disk with digits of noise.
GREY_INTENSITY, STEP = 1000.0, 1000.0 / 128
# Voxels that lose more than this share of their signal fall out of the brain mask.
MASKED_LOSS = 0.6
# Drift is slower than this (s), as fMRIPrep's cosines are.
DRIFT_S = 128.0
# Fluid pulsates so many times as strongly as the brain.
FLUID_PULSATION = 2.5
# Breathing and pulse (the latter aliased by the TR): centre (Hz) and memory, the share of an
# oscillation that is left after a volume; then two slow ones of vessel tone, their AR(1).
OSCILLATIONS, SLOW = ((0.21, 0.9), (0.13, 0.9)), (0.9, 0.8)
# A rotation by 1 rad moves the surface of the head by this much (Power et al. 2012, mm).
HEAD_RADIUS_MM = 50.0
# Voxels at a time, which bounds memory.
BLOCK = 16384
# CompCor components in the confounds table, of the combined and of each single mask.
N_COMBINED, N_SINGLE = 5, 3
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")

_SCAN, _MOTION, _HEAD = range(100, 103)


@dataclass(frozen=True)
class Scan:
    """One run as the scanner records it.

    Attributes
    ----------
    series : array, shape (n_volumes, n_voxels), float32
        Intensity in the voxels of the template.
    motion : array, shape (n_volumes, 6)
        Translations (mm) and rotations (rad), as `MOTION` names them.
    events : DataFrame
        From `simulate.simulate_events`.
    """

    series: NDArray
    motion: NDArray
    events: pd.DataFrame


def volume_times(n_volumes: int, tr_s: float) -> NDArray:
    """Return the time that each volume stands for, the middle of its acquisition (s).

    Examples
    --------
    >>> volume_times(3, 2.0)
    array([1., 3., 5.])
    """
    return (np.arange(n_volumes) + SLICE_TIME_REF) * tr_s


def respond(onsets: NDArray, durations: NDArray, times: NDArray) -> NDArray:
    """Return the BOLD response to events: boxcars convolved with SPM's canonical response.

    Parameters
    ----------
    onsets, durations : arrays, shape (n_events,)
        Seconds; durations above 0.
    times : array, shape (n_times,)
        Seconds.

    Returns
    -------
    array, shape (n_times,)
        1 is the plateau of an endless event. Exact: a boxcar convolved with a density is a
        difference of its integral. nilearn's `spm` samples the same function.
    """
    since = times[:, None] - np.asarray(onsets)
    return (_step_response(since) - _step_response(since - durations)).sum(axis=1)


def peak_response(duration_s: float = PEAK_DURATION_S) -> float:
    """Return the highest value of the response to one event.

    Examples
    --------
    >>> round(peak_response(), 3)
    0.968
    """
    times = np.arange(0, RESPONSE_END_S + duration_s, 0.01)
    return float(respond(np.zeros(1), np.array([duration_s]), times).max())


def _step_response(seconds: NDArray) -> NDArray:
    """Return the response to an event that began so long ago and goes on."""
    return _integral(seconds) / _integral(np.array(RESPONSE_END_S))


def _integral(seconds: NDArray) -> NDArray:
    seconds = np.clip(seconds, 0, RESPONSE_END_S)
    undershoot = _gamma_cdf(seconds, UNDERSHOOT_SHAPE)
    return _gamma_cdf(seconds, RESPONSE_SHAPE) - UNDERSHOOT_WEIGHT * undershoot


def _gamma_cdf(x: NDArray, shape: int) -> NDArray:
    """Return the gamma distribution of a whole shape: 1 - exp(-x) sum of x^k / k!."""
    term = np.ones_like(x)
    total = np.ones_like(x)
    for k in range(1, shape):
        term = term * x / k
        total = total + term
    return 1 - np.exp(-x) * total


def scan_run(cohort: Cohort, index: int, run: int, template: Template) -> Scan:
    """Scan one run of one subject.

    Parameters
    ----------
    cohort : Cohort
    index : int
        Position of the subject, from 0; the scan depends on it, the run and the seed alone.
    run : int
        1, 2 or 3.
    template : Template
        From `simulate.plan`, with the same cohort.
    """
    events = simulate_events(cohort, index, run)
    times = volume_times(cohort.n_volumes, cohort.protocol.tr_s)
    condition = block_order(index)[run - 1]
    courses, maps = _responses(cohort, index, condition, template, events, times)
    kept = 1 - dropout_depth(cohort, index) * phantom.dropout_pattern(template.points)
    motion = _move(cohort, index, run)
    series = _noise(cohort, index, run, template, motion)
    full = GREY_INTENSITY * phantom.brightness(template.white, template.fluid)
    for block in _blocks(series.shape[1]):
        part = series[:, block]
        part += kept[block] * (100 + courses @ maps[:, block])
        part *= full[block] / 100
    return Scan(series, motion, events)


def brain_mask(cohort: Cohort, index: int, template: Template) -> NDArray:
    """Return which voxels of the template a subject's mask holds, shape (n_voxels,)."""
    lost = dropout_depth(cohort, index) * phantom.dropout_pattern(template.points)
    return lost <= MASKED_LOSS


def _responses(
    cohort: Cohort,
    index: int,
    condition: str,
    template: Template,
    events: pd.DataFrame,
    times: NDArray,
) -> tuple[NDArray, NDArray]:
    """Return time courses (n_volumes, n) and maps (n, n_voxels) of what events evoke (%)."""
    effects = simulate_effects(cohort, index, template)
    maps = {cue: effects[condition, cue] for cue in ("threat", "safe")}
    maps |= {
        name: share * template.tissue * template.response
        for name, share in OTHER_SHARES.items()
    }
    courses = []
    for name in maps:
        rows = events[events["trial_type"] == name]
        course = respond(rows["onset"].to_numpy(), rows["duration"].to_numpy(), times)
        courses.append(course / peak_response())
    if cohort.trial_sd:
        rows = events[events["trial_type"] == "threat"].to_dict("records")
        sizes = trial_sizes(cohort, index, block_order(index).index(condition) + 1)
        course = sum(
            size * respond([row["onset"]], [row["duration"]], times)
            for size, row in zip(sizes, rows, strict=True)
        )
        courses.append(course / peak_response())
        maps["trials"] = cohort.trial_sd * template.tissue * template.response
    return np.stack(courses, axis=1), np.stack(list(maps.values()))


def _noise(
    cohort: Cohort, index: int, run: int, template: Template, motion: NDArray
) -> NDArray:
    """Draw the noise of a run (%), shape (n_volumes, n_voxels), float32."""
    noise, rng = cohort.noise, stream(cohort, _SCAN, index, run)
    smooth = template.field(noise.smoothness_mm)
    nodes = noise.smooth_sd * _autoregress(
        rng.standard_normal((cohort.n_volumes, *smooth.nodes), dtype=np.float32),
        noise.ar1,
    )
    cosines = slow_cosines(cohort.n_volumes, cohort.protocol.tr_s)
    if cosines.shape[1]:
        weights = rng.standard_normal((cosines.shape[1], nodes[0].size), np.float32)
        drift = _unit_rows(cosines).astype(np.float32) @ weights
        nodes += noise.drift_sd * drift.reshape(nodes.shape)
    courses, maps = _shared(cohort, index, template, smooth, motion, rng)
    series = np.empty((cohort.n_volumes, template.binding.size), dtype=np.float32)
    for volume, part in enumerate(series):
        rng.standard_normal(out=part, dtype=np.float32)
        part *= noise.thermal_sd
        part += smooth.see(nodes[volume : volume + 1])[0]
    for block in _blocks(series.shape[1]):
        series[:, block] += courses @ maps[:, block]
    return series


def _shared(
    cohort: Cohort,
    index: int,
    template: Template,
    smooth: phantom.SmoothField,
    motion: NDArray,
    rng: np.random.Generator,
) -> tuple[NDArray, NDArray]:
    """Return time courses and maps of what the whole brain shares: pulsation, and motion."""
    noise = cohort.noise
    courses = _pulsate(cohort.n_volumes, cohort.protocol.tr_s, rng)
    strength = 1 + (FLUID_PULSATION - 1) * template.fluid
    # a heart beats in the same phase nearly everywhere: the mean of the first map is not 0
    maps = smooth.draw(rng, courses.shape[1])
    maps[0] = 1 + maps[0] / 2
    maps *= noise.physio_sd / np.sqrt(courses.shape[1]) * strength
    # the same head in every run of a person
    head = smooth.draw(stream(cohort, _HEAD, index), len(MOTION))
    moved = motion * np.repeat([1.0, HEAD_RADIUS_MM], 3)
    return (
        np.hstack([courses, moved - moved.mean(axis=0)]).astype(np.float32),
        np.vstack([maps, noise.motion_percent * head]).astype(np.float32),
    )


def _pulsate(n: int, tr_s: float, rng: np.random.Generator) -> NDArray:
    """Draw breathing, pulse and vessel tone, shape (n, 4), standard deviation near 1."""
    courses = []
    for hertz, memory in OSCILLATIONS:
        turn = memory * np.exp(2j * np.pi * hertz * tr_s)
        steps = rng.standard_normal((n, 2)) @ [1, 1j]
        courses.append(_autoregress(steps, turn).real)
    courses += [_autoregress(rng.standard_normal(n), memory) for memory in SLOW]
    return np.stack(courses, axis=1)


def _autoregress(steps: NDArray, coefficient: complex) -> NDArray:
    """Turn independent steps into AR(1) noise of the same variance, along the first axis."""
    kept = float(np.sqrt(1 - abs(coefficient) ** 2))
    noise = steps.copy()
    for t in range(1, len(noise)):
        noise[t] = coefficient * noise[t - 1] + kept * steps[t]
    return noise


def _move(cohort: Cohort, index: int, run: int) -> NDArray:
    """Draw the motion of a run: a wandering head that jerks now and then, (n_volumes, 6)."""
    noise, rng = cohort.noise, stream(cohort, _MOTION, index, run)
    n = cohort.n_volumes
    motion = noise.motion_mm * rng.standard_normal((n, 6)).cumsum(axis=0)
    n_spikes = min(rng.poisson(noise.n_spikes), n)
    # in any direction, by a length that is exponential
    jerks = rng.standard_normal((n_spikes, 6))
    jerks /= np.linalg.norm(jerks, axis=1, keepdims=True)
    lengths = noise.spike_mm * rng.exponential(size=(n_spikes, 1))
    motion[rng.choice(n, n_spikes, replace=False)] += lengths * jerks
    return (motion - motion[0]) / np.repeat([1.0, HEAD_RADIUS_MM], 3)


def slow_cosines(n_volumes: int, tr_s: float) -> NDArray:
    """Return the cosines slower than 128 s, shape (n_volumes, n), each of length 1."""
    n = int(np.floor(2 * n_volumes * tr_s / DRIFT_S))
    angles = np.pi / n_volumes * (np.arange(n_volumes) + 0.5)
    return np.sqrt(2 / n_volumes) * np.cos(np.outer(angles, np.arange(1, n + 1)))


def _unit_rows(cosines: NDArray) -> NDArray:
    """Scale cosines so that random weights on them give drift of mean square 1 over time."""
    return cosines * np.sqrt(len(cosines) / cosines.shape[1])


def measure_confounds(
    scan: Scan, inside: NDArray, template: Template, tr_s: float
) -> tuple[pd.DataFrame, dict]:
    """Measure in a scan what fMRIPrep measures in one.

    Parameters
    ----------
    scan : Scan
    inside : array of bool, shape (n_voxels,)
        The subject's brain mask, from `brain_mask`.
    template : Template
    tr_s : float
        Repetition time (s).

    Returns
    -------
    table : DataFrame
        A row per volume; NaN where a value needs the volume before the first. Mean signals
        and motion with derivatives and squares, DVARS (standardised by the standard
        deviation and AR(1) coefficient of each voxel), framewise displacement (Power et al.
        2012, mm), anatomical CompCor components (Behzadi et al. 2007) and cosines.
    meanings : dict
        Of the CompCor components, as fMRIPrep's JSON file has them.
    """
    white, fluid = _confound_masks(template, inside)
    series, n = scan.series, len(scan.series)
    cosines = slow_cosines(n, tr_s)
    columns = {
        "global_signal": series[:, inside].mean(axis=1, dtype=np.float64),
        "csf": series[:, fluid].mean(axis=1, dtype=np.float64),
        "white_matter": series[:, white].mean(axis=1, dtype=np.float64),
    }
    table = _expand(pd.DataFrame(columns))
    table["std_dvars"], table["dvars"] = _dvars(series, inside)
    table["framewise_displacement"] = framewise_displacement(scan.motion)
    meanings: dict[str, dict] = {}
    kinds = {"c": ("CSF", fluid, N_SINGLE), "w": ("WM", white, N_SINGLE)}
    kinds["a"] = ("combined", white | fluid, N_COMBINED)
    for letter, (mask, voxels, count) in kinds.items():
        components, values = _components(series[:, voxels], cosines, count)
        shares = values**2 / (values**2).sum()
        for i, component in enumerate(components.T):
            name = f"{letter}_comp_cor_{i:02d}"
            table[name] = component
            meanings[name] = {
                "CumulativeVarianceExplained": float(shares[: i + 1].sum()),
                "Mask": mask,
                "Method": "aCompCor",
                "Retained": True,
                "SingularValue": float(values[i]),
                "VarianceExplained": float(shares[i]),
            }
    for i, cosine in enumerate(cosines.T):
        table[f"cosine{i:02d}"] = cosine
    motion = _expand(pd.DataFrame(scan.motion, columns=list(MOTION)))
    return pd.concat([table, motion], axis=1), meanings


def framewise_displacement(motion: NDArray) -> NDArray:
    """Return how far the head moved since the volume before (mm), NaN in the first.

    Sum of absolute changes, rotations on a sphere of 50 mm (Power et al. 2012).

    Examples
    --------
    >>> framewise_displacement(np.array([[0, 0, 0, 0, 0, 0], [0.1, 0, -0.2, 0.01, 0, 0]]))
    array([nan, 0.8])
    """
    change = np.abs(np.diff(motion, axis=0)) * np.repeat([1.0, HEAD_RADIUS_MM], 3)
    return np.concatenate([[np.nan], change.sum(axis=1)])


def _confound_masks(template: Template, inside: NDArray) -> tuple[NDArray, NDArray]:
    """Return deep white matter and fluid, in which nothing responds."""
    deepest = phantom.FADE[1]
    return inside & (template.white >= deepest), inside & (template.fluid >= deepest)


def _expand(table: pd.DataFrame) -> pd.DataFrame:
    """Add the change since the volume before, and the squares of both."""
    change = table.diff()
    parts = [table, change.add_suffix("_derivative1"), (table**2).add_suffix("_power2")]
    parts.append((change**2).add_suffix("_derivative1_power2"))
    return pd.concat(parts, axis=1)


def _dvars(series: NDArray, inside: NDArray) -> tuple[NDArray, NDArray]:
    """Return DVARS, standardised and not, NaN in the first volume.

    Standardised by the mean over voxels of the standard deviation of a change, which for an
    AR(1) series is sd * sqrt(2 (1 - rho)).
    """
    squares = np.zeros(len(series) - 1)
    expected = 0.0
    for block in _blocks(series.shape[1]):
        part = series[:, block][:, inside[block]]
        change = np.diff(part, axis=0)
        squares += (change.astype(np.float64) ** 2).sum(axis=1)
        part = part - part.mean(axis=0)
        variance = (part**2).mean(axis=0)
        lagged = (part[1:] * part[:-1]).mean(axis=0)
        expected += np.sqrt(np.maximum(2 * (variance - lagged), 0)).sum()
    dvars = np.sqrt(squares / inside.sum())
    expected /= inside.sum()
    first = [[np.nan]]
    scaled = dvars / expected if expected else np.zeros_like(dvars)
    return np.concatenate([*first, scaled]), np.concatenate([*first, dvars])


def _components(series: NDArray, cosines: NDArray, n: int) -> tuple[NDArray, NDArray]:
    """Return the first components over time of some voxels, and all singular values.

    Drift is taken out first. Of the time x time products, since voxels are many.
    """
    series = series.astype(np.float64)
    series -= series.mean(axis=0)
    series -= cosines @ (cosines.T @ series)
    values, vectors = np.linalg.eigh(series @ series.T)
    # an eigenvector has no sign of its own: the largest element is positive
    vectors = vectors[:, ::-1][:, :n]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return vectors, np.sqrt(np.maximum(values[::-1], 0))


def digitise(series: NDArray) -> NDArray:
    """Count intensities in steps of `STEP`, as the file holds them: int16, not negative."""
    return np.rint(np.clip(series / np.float32(STEP), 0, 32767)).astype(np.int16)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
