"""What the tables say about study B's claims, B1 (interpolation) and B2 (evolution), by the rule of `verdicts`."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..study.axes import AXES
from . import tables
from .labels import compact, with_error
from .verdicts import VERBS, Case, Verdict, closer, tried

TENS = 10  # epochs: "the first epochs" are below, "tens of epochs" from here on
APART = 2  # standard errors of a difference
ENOUGH = 8  # pairs of latents; the standard error of fewer is too uncertain to decide by
epochs_label = AXES["epochs"].label

STATEMENTS = {
    "B1": "Between two latents, DCGAN's images change along a straighter path than DDPM's, "
    "whose images share one noise along a path.",
    "B1 jumps": "DDPM's change then comes in jumps: its largest step is a larger share of the path than DCGAN's.",
    "B1 ends": "Ours: that shared noise, more than the latents, decides DDPM's image: the two ends of a path are "
    "closer to each other than DCGAN's.",
    "B1 independent": "Ours: DCGAN's path is the straighter one where DDPM's noise is drawn anew for each image, too; "
    "such noise alone makes large, even steps.",
    "B1 DDIM": "Ours: DCGAN's path is straighter than that of DDPM by DDIM, which adds no noise.",
    "B2 early": f"In the first epochs (below {TENS}), DCGAN's images are closer to real ones than DDPM's.",
    "B2 late": f"After tens of epochs ({TENS} or more), DDPM's images are the closer ones.",
    "B2 tone": "After tens of epochs, DDPM's images are more alike in tone than DCGAN's.",
}


class Rivals(NamedTuple):
    """A U-Net and a DCGAN under one display: their rows at the epochs that both have."""

    chain: str
    gan: str
    display: str
    rows: list[tuple[dict, dict]]


def verdicts(evolution: pd.DataFrame | None, interpolation: pd.DataFrame | None) -> list[Verdict]:
    """Every claim's verdict, in order.

    evolution: the cells of several epochs, as `verdicts.usual` returns them; interpolation: the interpolation table;
    None where they were not run.
    """
    cases = {
        "B1": smoother(interpolation, "path_ratio", "ancestral", "shared"),
        "B1 jumps": smoother(interpolation, "largest_share", "ancestral", "shared"),
        "B1 ends": smoother(interpolation, "end_to_end", "ancestral", "shared", sign=-1),
        "B1 independent": smoother(interpolation, "path_ratio", "ancestral", "independent"),
        "B1 DDIM": smoother(interpolation, "path_ratio", "ddim", None),
        "B2 early": nearer(evolution, lambda epochs: epochs < TENS, gan_first=True),
        "B2 late": nearer(evolution, lambda epochs: epochs >= TENS, gan_first=False),
        "B2 tone": alike_in_tone(evolution),
    }
    return [tried(claim, STATEMENTS[claim], found) for claim, found in cases.items()]


def smoother(table: pd.DataFrame | None, measure: str, sampler: str, noise: str | None, sign: int = 1) -> list[Case]:
    """B1: the mean over pairs of `measure`, each U-Net by `sampler` against each DCGAN.

    sign: the claim is that the U-Net's is larger (+1) or smaller (-1). Comparisons are the paths and the spaces; fewer
    than ENOUGH pairs decide nothing.
    """
    if table is None:
        return []
    table = table.dropna(subset=[measure])
    gans = table[table["sampler"].isna()]
    own_noise = table["noise"].isna() if noise is None else table["noise"] == noise
    chains = table[(table["sampler"] == sampler) & own_noise]
    found = []
    for (model, display), part in chains.groupby(["model", "display"]):
        for gan, rivals in gans[gans["display"] == display].groupby("model"):
            signs, evidence = [], []
            for (path, space), other in rivals.groupby(["path", "space"]):
                own = part[(part["path"] == path) & (part["space"] == space)]
                if own.empty:
                    continue
                (a, error_a), (b, error_b) = mean_and_error(own[measure]), mean_and_error(other[measure])
                enough = min(len(own), len(other)) >= ENOUGH
                signs.append(sign * apart(a - b, np.hypot(error_a, error_b)) if enough else 0)
                evidence.append(
                    f"{path} path, {'pixels' if space == 'pixels' else 'classifier features'}: "
                    f"{with_error(a, error_a)} against {gan} {with_error(b, error_b)}"
                )
            if signs:
                found.append(Case(f"{model} against {gan}, {display}", signs, evidence))
    return found


def nearer(table: pd.DataFrame | None, asked: Callable[[int], bool], gan_first: bool) -> list[Case]:
    """B2: distances to real images at the epochs that both models have and that are `asked` for.

    gan_first: the claim is that the DCGAN is the closer one, else the U-Net.
    """
    if table is None:
        return []
    metric = tables.distance(table)
    found = []
    for chain, gan, display, rows in rivals(table, asked):
        signs, evidence = [], []
        for own, other in rows:
            a, b = own[metric], other[metric]
            if np.isnan(a) or np.isnan(b):
                continue
            sign = closer(a, b, own[f"{metric}_floor"])
            signs.append(-sign if gan_first else sign)
            evidence.append(f"{epochs_label(own['epochs'])}: {compact(a)} against {compact(b)} ({VERBS[sign]})")
        if signs:
            found.append(Case(f"{chain} against {gan}, {display}", signs, evidence))
    return found


def alike_in_tone(table: pd.DataFrame | None) -> list[Case]:
    """B2's similar tones: the standard deviation over samples of the mean of the image as shown."""
    found = []
    for chain, gan, display, rows in rivals(table, lambda epochs: epochs >= TENS) if table is not None else ():
        signs, evidence = [], []
        for own, other in rows:
            a, b = own["tone_sd"], other["tone_sd"]
            if np.isnan(a) or np.isnan(b):
                continue
            errors = [sd / np.sqrt(2 * (row["n"] - 1)) for sd, row in ((a, own), (b, other))]
            signs.append(apart(b - a, np.hypot(*errors)))
            evidence.append(
                f"{epochs_label(own['epochs'])}: sd {with_error(a, errors[0])} against {with_error(b, errors[1])}"
            )
        if signs:
            found.append(Case(f"{chain} against {gan}, {display}", signs, evidence))
    return found


def rivals(table: pd.DataFrame, asked: Callable[[int], bool]) -> Iterator[Rivals]:
    """Each U-Net with each DCGAN and display, at the common epochs that are `asked` for."""
    for (chain, display), own in table[table["arm"] == "noise"].groupby(["variant", "display"]):
        gans = table[(table["arm"] == "gan") & (table["display"] == display)]
        for gan, other in gans.groupby("variant"):
            by_epochs = [{row["epochs"]: row for row in part.to_dict("records")} for part in (own, other)]
            common = sorted(epochs for epochs in by_epochs[0].keys() & by_epochs[1].keys() if asked(epochs))
            yield Rivals(chain, gan, display, [(by_epochs[0][epochs], by_epochs[1][epochs]) for epochs in common])


def mean_and_error(values: pd.Series) -> tuple[float, float]:
    """Mean and its standard error; infinite for a single value."""
    return float(values.mean()), float(values.sem()) if len(values) > 1 else np.inf


def apart(difference: float, error: float) -> int:
    """The difference's sign where it is beyond twice its standard error, else 0."""
    return int(np.sign(difference)) if abs(difference) > APART * error else 0
