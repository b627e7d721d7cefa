"""What of a study is kept when it is repeated: people, gaps, places, and how people differ.

How people differ around their mean map is a Gaussian field over parcels and ROIs, fitted to the
study's own people: a part that the whole brain shares, a smooth part that falls off with
distance, and one that neighbours do not share. It goes on from cortex into subcortex as far as
the people's own do. What it assumes: people who differ normally, and one range within a
structure. An ROI stands at its centre (of an ROI on both sides: the midline), in the structure of
the nearest parcel, and correlates with the other ROIs as the study's own do.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from handhold.correspondence import couple
from handhold.errors import StudyError
from handhold.fields import Covariance, fit_parcels, fit_together
from handhold.nulls import euclidean
from handhold.parcels import AXES, arrange_subjects, couple_baseline
from handhold.reliability import ceiling
from handhold.variogram import root

# Fewer people show no covariance, and no test over people is done with fewer.
MINIMUM_SUBJECTS = 6
# Baselines that give (nearly) all of attenuation or relief leave nothing to correlate.
LARGEST_R = 0.95
# Variance below which two ROIs at (nearly) one place are one.
TINY = 1e-9


@dataclass(frozen=True)
class Noise:
    """How people differ around their mean: correlation over places, by structure.

    covariances : of the standardised residuals of each structure, by its name; nugget and sill
        are shares of the variance, and what they leave to 1 is shared by the whole structure.
    link : how much of the shared and of the smooth part goes on from one structure into
        another, from 0 (fields stop at the border) to 1.
    """

    covariances: dict[str, Covariance]
    link: float

    def correlation(self, distance: NDArray, structure: NDArray) -> NDArray:
        """Correlation between places, (n_places, n_places), given their distances in mm."""
        smooth = np.zeros_like(distance)
        sill, nugget, shared = np.zeros((3, len(distance)))
        for name, covariance in self.covariances.items():
            own = structure == name
            # all structures smooth one white noise, each by its own range
            smooth[own] = root(covariance.correlation(distance))[own]
            sill[own], nugget[own] = covariance.sill, covariance.nugget
            shared[own] = 1 - covariance.variance
        parts = np.sqrt(np.outer(sill, sill)) * (smooth @ smooth.T)
        parts += np.sqrt(np.outer(shared, shared))
        same = structure[:, np.newaxis] == structure
        return np.where(same, parts, self.link * parts) + np.diag(nugget)


def fit_noise(
    attenuation: ArrayLike, coordinates: ArrayLike, structure: ArrayLike
) -> Noise:
    """Estimate how people differ around their mean map.

    Parameters
    ----------
    attenuation : array, shape (n_subjects, n_parcels)
        In any unit; NaN where a person lacks the parcel.
    coordinates : array, shape (n_parcels, 3)
        Centres of the parcels in mm.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.

    Returns
    -------
    Noise
        By least squares: the variogram of each structure's residuals (divided by each parcel's
        standard deviation), pooled over people; then the link, from the products of residuals
        across structures.
    """
    residuals = standardised_residuals(attenuation)
    distance, structure = euclidean(coordinates), np.asarray(structure)
    covariances = {}
    for name in np.unique(structure):
        own = np.flatnonzero(structure == name)
        found = fit_together(residuals[:, own], distance[np.ix_(own, own)])
        scale = max(found.variance, 1.0)
        covariances[str(name)] = Covariance(
            found.nugget / scale, found.sill / scale, found.range_mm, found.shape
        )
    across = structure[:, np.newaxis] != structure
    if not across.any():
        return Noise(covariances, 1.0)
    whole = Noise(covariances, 1.0).correlation(distance, structure)[across]
    filled = np.nan_to_num(residuals)
    pairs = np.isfinite(residuals).astype(float)
    found = (filled.T @ filled) / np.maximum(pairs.T @ pairs, 1)
    link = (found[across] @ whole) / max(whole @ whole, np.finfo(float).tiny)
    return Noise(covariances, float(np.clip(link, 0, 1)))


def standardised_residuals(attenuation: ArrayLike) -> NDArray:
    """Return what people differ from their mean, in each column's standard deviations.

    Scaled so that their mean square is 1 in a column that everyone has; NaN stays.
    """
    values = np.asarray(attenuation, float)
    residuals = values - np.nanmean(values, axis=0)
    return residuals / np.sqrt(np.nanmean(residuals**2, axis=0))


def signal_root(
    pattern: ArrayLike, coordinates: ArrayLike, structure: ArrayLike
) -> NDArray:
    """Return what turns white noise into maps as smooth as one, (n_parcels, n_parcels).

    Covariance fitted to the map within structures; unlike a surrogate, what it draws goes on
    from one structure into another, as a real map does.
    """
    pattern, structure = np.asarray(pattern, float), np.asarray(structure)
    distance = euclidean(coordinates)
    covariances = {}
    for name in np.unique(structure):
        own = np.flatnonzero(structure == name)
        (found,) = fit_parcels(pattern[np.newaxis, own], distance[np.ix_(own, own)])
        share = 1 / found.variance
        covariances[str(name)] = Covariance(
            found.nugget * share, found.sill * share, found.range_mm, found.shape
        )
    return root(Noise(covariances, 1.0).correlation(distance, structure))


@dataclass(frozen=True)
class Design:
    """What of a study is kept in every world. V places are P parcels, then R ROIs.

    binding : (P,) the target receptor map; structure, (P,).
    coordinates : (P, 3) in MNI mm.
    sd, roi_sd : (P,), (n_contrasts, R) standard deviation between people, primary contrast
        first.
    noise_root, signal_root : (V, V), (P, P) white noise to people's differences, and to a map
        as smooth as the receptor map.
    contrast_root : (n_contrasts, n_contrasts) lower triangular; its product with its transpose
        is the correlation between contrasts over people.
    contrast_share : (n_contrasts,) attenuation of each contrast if only the primary
        contrast's held condition attenuates, as a share of the primary contrast's.
    has_parcel, has_roi, rated : (n_subjects, P), (n_subjects, n_contrasts, R), (n_subjects,)
        what the study has of each person.
    regions : (R,) names of the hypothesised ROIs.
    response_r, coupling_response_r, score_r : correlation over people of attenuation with the
        response at baseline, of its coupling with the response's, and of relief with the score
        at baseline; nan where a baseline is not known.
    baseline_r, coupling_baseline_r : correlation over people of the score at baseline with the
        response at baseline (mean over ROIs, of Fisher's z), and with that response's coupling;
        nan where a baseline is not known.
    tracking_ceiling, coupling_ceiling : largest correlations that reliability allows.
    ranked : whether maps are correlated by rank.
    """

    binding: NDArray
    structure: NDArray
    coordinates: NDArray
    sd: NDArray
    roi_sd: NDArray
    noise_root: NDArray
    signal_root: NDArray
    contrast_root: NDArray
    contrast_share: NDArray
    has_parcel: NDArray
    has_roi: NDArray
    rated: NDArray
    regions: NDArray
    response_r: float
    coupling_response_r: float
    score_r: float
    baseline_r: float
    coupling_baseline_r: float
    tracking_ceiling: float
    coupling_ceiling: float
    ranked: bool

    @classmethod
    def of(cls, arrays: dict[str, NDArray]) -> "Design":
        """Make a design of the arrays that `vars` of one were written as."""
        return cls(
            **{
                name: part if part.ndim else part.item()
                for name, part in arrays.items()
            }
        )

    @property
    def n_subjects(self) -> int:
        """People in the study."""
        return len(self.has_parcel)

    @property
    def adjusted(self) -> bool:
        """Whether both baselines are known, so that the model at equal baselines decides Q3."""
        return bool(np.isfinite(self.response_r) and np.isfinite(self.score_r))

    @property
    def coupling_adjusted(self) -> bool:
        """Whether the same is so of Q4."""
        return bool(np.isfinite(self.coupling_response_r) and np.isfinite(self.score_r))


def describe_study(
    attenuation: pd.DataFrame,
    rois: pd.DataFrame,
    own: pd.DataFrame,
    definitions: pd.DataFrame,
    relief: pd.DataFrame | None,
    reliability: pd.DataFrame | None,
    *,
    contrasts: list[dict],
    definition: str,
    ranked: bool,
    given: dict,
) -> Design:
    """Take from a study's tables what every repetition of it keeps.

    Parameters
    ----------
    attenuation, rois : DataFrame
        attenuation/parcels.tsv and attenuation/rois.tsv.
    own : DataFrame
        Parcels in use, of the primary contrast: region, structure, x, y, z, binding.
    definitions : DataFrame
        regions/definitions.tsv.
    relief, reliability : DataFrame or None
        relief.tsv and reliability.tsv; None in a study without ratings.
    contrasts : list of dict
        That section of the configuration; the first is primary.
    definition : str
        The primary ROI definition.
    ranked : bool
        Whether the headline correlates ranks.
    given : dict
        reliability_attenuation and reliability_relief, where the configuration gives them.

    Raises
    ------
    StudyError
        If there are fewer than six people, or people do not differ in some region.
    """
    names = [contrast["name"] for contrast in contrasts]
    hypothesised = rois[
        (rois["definition"] == definition) & (rois["role"] == "hypothesised")
    ]
    values = arrange_subjects(attenuation, names[0], own["region"])
    regions = hypothesised["region"].drop_duplicates().to_numpy(str)
    of_rois = np.stack(
        [arrange_subjects(hypothesised, name, regions) for name in names], axis=1
    )
    _require_people(values, of_rois, own["region"].to_numpy(), regions)

    places = own[AXES].to_numpy(float)
    centres = definitions[definitions["definition"] == definition]
    centres = centres.set_index("region").loc[regions, AXES].to_numpy(float)
    structure = own["structure"].to_numpy(str)
    nearest = np.linalg.norm(centres[:, np.newaxis] - places, axis=-1).argmin(axis=1)
    noise = fit_noise(values, places, structure)
    everywhere = noise.correlation(
        euclidean(np.concatenate([places, centres])),
        np.concatenate([structure, structure[nearest]]),
    )
    noise_root = root(everywhere)
    n_parcels = len(places)
    noise_root[n_parcels:] = _mix_rois(noise_root[n_parcels:], of_rois[:, 0])
    subjects = attenuation["subject"].drop_duplicates()
    felt = _felt(relief, names[0], subjects)
    score = _score(felt)
    primary = hypothesised[hypothesised["contrast"] == names[0]]
    primary = primary.assign(score=primary["subject"].map(score))
    coupled_alone = couple_baseline(attenuation, names[0], own, ranked=ranked)
    return Design(
        binding=own["binding"].to_numpy(float),
        structure=structure,
        coordinates=places,
        sd=np.nanstd(values, axis=0, ddof=1),
        roi_sd=np.nanstd(of_rois, axis=0, ddof=1),
        noise_root=noise_root,
        signal_root=signal_root(own["binding"].to_numpy(float), places, structure),
        contrast_root=_contrast_root(of_rois),
        contrast_share=np.array(
            [_share(contrast, contrasts[0]) for contrast in contrasts]
        ),
        has_parcel=np.isfinite(values),
        has_roi=np.isfinite(of_rois),
        rated=np.isfinite(felt["relief"].to_numpy(float)),
        regions=regions,
        response_r=_response_r(primary, "attenuation", regions),
        coupling_response_r=_coupling_response_r(values, coupled_alone, own, ranked),
        score_r=_correlate(felt["relief"], score),
        baseline_r=_response_r(primary, "score", regions),
        coupling_baseline_r=_correlate(
            pd.Series(coupled_alone, index=score.index), score
        ),
        **_ceilings(reliability, names[0], definition, regions, given),
        ranked=ranked,
    )


def _require_people(
    values: NDArray, of_rois: NDArray, parcels: NDArray, regions: NDArray
) -> None:
    if len(values) < MINIMUM_SUBJECTS:
        raise StudyError(
            f"the study has {len(values)} people; to repeat it (snakemake calibrate), how people "
            f"differ has to be estimated from at least {MINIMUM_SUBJECTS}."
        )
    flat = np.concatenate([values, of_rois[:, 0]], axis=1)
    same = ~(np.nanmax(flat, axis=0) > np.nanmin(flat, axis=0))
    if same.any():
        listed = ", ".join(np.concatenate([parcels, regions])[same][:5])
        raise StudyError(
            f"all people have the same attenuation in {same.sum()} of {same.size} regions "
            f"({listed}), so that the study cannot be repeated (snakemake calibrate). Look at "
            "their images: constant regions are no measurements."
        )


def _mix_rois(rows: NDArray, attenuation: NDArray) -> NDArray:
    """Mix the rows of ROIs, (R, V), so that ROIs correlate over people as the study's own do.

    An ROI averages what a point at its centre does not: neighbours' own noise is gone.
    """
    residuals = np.nan_to_num(standardised_residuals(attenuation))
    wanted = root(residuals.T @ residuals / len(residuals))
    eigenvalues, vectors = np.linalg.eigh(rows @ rows.T)
    whitened = (vectors / np.sqrt(np.maximum(eigenvalues, TINY))) @ vectors.T
    mixed = wanted @ whitened @ rows
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def _contrast_root(of_rois: NDArray) -> NDArray:
    """Return the lower triangular root of the correlation between contrasts, mean over ROIs."""
    residuals = standardised_residuals(of_rois)
    products = residuals[:, :, np.newaxis] * residuals[:, np.newaxis]
    found = np.nanmean(products, axis=(0, 3))
    np.fill_diagonal(found, 1)
    # a contrast may be the difference of two others, so that no Cholesky root exists
    upper = np.linalg.qr(root(found))[1]
    return (upper * np.sign(np.diag(upper))[:, np.newaxis]).T


def _share(contrast: dict, primary: dict) -> float:
    """Attenuation of a contrast where only the primary's held condition attenuates."""
    if contrast is primary or "held" not in contrast or "held" not in primary:
        return float(contrast is primary)
    sides = [contrast[side] == primary["held"] for side in ("held", "baseline")]
    return float(sides[0]) - float(sides[1])


def _felt(
    relief: pd.DataFrame | None, contrast: str, subjects: pd.Series
) -> pd.DataFrame:
    """Return relief and baseline score by subject; missing where they are not known."""
    columns = ["relief", "baseline"]
    if relief is None:
        return pd.DataFrame(np.nan, index=list(subjects), columns=columns)
    own = relief[relief["contrast"] == contrast].set_index("subject")
    return own.reindex(index=list(subjects), columns=columns).astype(float)


def _score(felt: pd.DataFrame) -> pd.Series:
    """Return the score at baseline of who was rated; nan of all where somebody's is not known."""
    rated = felt.dropna(subset=["relief"])
    if rated["baseline"].isna().any():
        return pd.Series(np.nan, felt.index)
    return rated["baseline"].reindex(felt.index)


def _response_r(rois: pd.DataFrame, other: str, regions: NDArray) -> float:
    """Correlate the response at baseline with a column, mean over ROIs (of Fisher's z)."""
    columns = ["response_baseline", other]
    known = rois.reindex(columns=["region", *columns]).astype(
        dict.fromkeys(columns, float)
    )
    if known[columns].isna().all().any():
        return np.nan
    found = [
        known.loc[known["region"] == region, columns].corr().iloc[0, 1]
        for region in regions
    ]
    return _bounded(np.tanh(np.nanmean(np.arctanh(found))))


def _coupling_response_r(
    attenuation: NDArray, of_response: NDArray, own: pd.DataFrame, ranked: bool
) -> float:
    """Correlate people's coupling with that of their response at baseline."""
    binding, structure = own["binding"].to_numpy(float), own["structure"].to_numpy(str)
    z = couple(attenuation, binding, structure, ranked=ranked).z
    return _correlate(pd.Series(z), pd.Series(of_response))


def _correlate(one: pd.Series, other: pd.Series) -> float:
    """Correlate two measures of the people who have both, nan where one of them is not known."""
    if one.isna().all() or other.isna().all():
        return np.nan
    return _bounded(one.corr(other))


def _bounded(r: float) -> float:
    return float(np.clip(np.nan_to_num(r), -LARGEST_R, LARGEST_R))


def _ceilings(
    reliability: pd.DataFrame | None,
    contrast: str,
    definition: str,
    regions: NDArray,
    given: dict,
) -> dict[str, float]:
    """Return the largest correlations that reliability allows; 1 where it is not known."""
    known = {
        name: given.get(f"reliability_{name}", np.nan)
        for name in ("attenuation", "relief")
    }
    if reliability is not None:
        own = reliability[reliability["contrast"] == contrast]
        of_rois = (own["definition"] == definition) & own["region"].isin(regions)
        rows = {
            "attenuation": (own["measure"] == "attenuation") & of_rois,
            "relief": own["measure"] == "relief",
        }
        for name, chosen in rows.items():
            if np.isnan(known[name]):
                known[name] = own.loc[chosen, "reliability"].mean()
    bounds = {
        "tracking_ceiling": ceiling(*known.values()),
        "coupling_ceiling": ceiling(known["relief"]),
    }
    return {name: 1.0 if np.isnan(bound) else bound for name, bound in bounds.items()}
