"""What the tables say about study B's claims, B1 (interpolation) and B2 (evolution), by the rule of `verdicts`."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from . import tables
from .tables import DISPLAY_NAMES, compact, epochs_label, way_label, with_error
from .verdicts import Case, Verdict, closer, tried

TENS = 10  # epochs: "the first epochs" are below, "tens of epochs" from here on
APART = 2  # standard errors of a difference

STATEMENTS = {
    "B1": "Between two latents, DCGAN's images change along a straighter path than DDPM's.",
    "B1 jumps": "DDPM's change comes in jumps: its largest step is a larger share of the path than DCGAN's.",
    "B1 control": "Ours: DCGAN's path is straighter than that of DDPM by DDIM, which adds no noise.",
    "B2 early": f"In the first epochs (below {TENS}), DCGAN's images are closer to real ones than DDPM's.",
    "B2 late": f"After tens of epochs ({TENS} or more), DDPM's images are the closer ones.",
    "B2 tone": "After tens of epochs, DDPM's images are more alike in tone than DCGAN's.",
}


def verdicts(evolution: pd.DataFrame | None, interpolation: pd.DataFrame | None) -> list[Verdict]:
    """Every claim's verdict, in order.

    evolution: the evolution table, as `tables.read_cells` returns it; interpolation: the interpolation table; None
    where they were not run.
    """
    cases = {
        "B1": smoother(interpolation, "path_ratio", "ancestral"),
        "B1 jumps": smoother(interpolation, "largest_share", "ancestral"),
        "B1 control": smoother(interpolation, "path_ratio", "ddim"),
        "B2 early": nearer(evolution, lambda epochs: epochs < TENS, gan_first=True),
        "B2 late": nearer(evolution, lambda epochs: epochs >= TENS, gan_first=False),
        "B2 tone": alike_in_tone(evolution),
    }
    return [tried(claim, STATEMENTS[claim], found) for claim, found in cases.items()]


def smoother(table: pd.DataFrame | None, measure: str, sampler: str) -> list[Case]:
    """B1: the mean over pairs of `measure` (less is smoother), each U-Net by `sampler` against each DCGAN.

    A case is a U-Net, its noise and a display; its comparisons are the paths and the spaces.
    """
    if table is None:
        return []
    table = table.dropna(subset=[measure])
    gans, chains = table[table["sampler"] == "gan"], table[table["sampler"] == sampler]
    found = []
    for (model, noise, display), part in chains.groupby(["model", "noise", "display"]):
        signs, evidence = [], []
        for (path, space, gan), rivals in gans[gans["display"] == display].groupby(["path", "space", "model"]):
            own = part.loc[(part["path"] == path) & (part["space"] == space), measure]
            if own.empty:
                continue
            (a, error_a), (b, error_b) = mean_and_error(own), mean_and_error(rivals[measure])
            signs.append(apart(a - b, np.hypot(error_a, error_b)))
            evidence.append(
                f"{path} path, {'pixels' if space == 'pixels' else 'classifier features'}: "
                f"{with_error(a, error_a)} against {gan} {with_error(b, error_b)}"
            )
        if signs:
            found.append(Case(f"{model}, {way_label(sampler, noise)}, {display}", signs, evidence))
    return found


def nearer(table: pd.DataFrame | None, asked: Callable[[int], bool], gan_first: bool) -> list[Case]:
    """B2: distances to real images at the epochs that both models have and that are `asked` for.

    gan_first: the claim is that the DCGAN is the closer one, else the U-Net.
    """
    found = []
    for where, floor_column, metric, gan, pairs in rivals(table, asked):
        signs, evidence = [], []
        for chain_row, gan_row in pairs:
            a, b = chain_row[metric], gan_row[metric]
            if np.isnan(a) or np.isnan(b):
                continue
            sign = closer(a, b, chain_row[floor_column])
            signs.append(-sign if gan_first else sign)
            verb = ["below the noise", "closer", "farther"][sign]
            evidence.append(f"{epochs_label(chain_row['epochs'])}: {compact(a)} against {gan} {compact(b)} ({verb})")
        if signs:
            found.append(Case(where, signs, evidence))
    return found


def alike_in_tone(table: pd.DataFrame | None) -> list[Case]:
    """B2's similar tones: the standard deviation over samples of the image mean, as sampled (so under one display)."""
    found = []
    for where, _, _, gan, pairs in rivals(table, lambda epochs: epochs >= TENS):
        if not where.endswith(DISPLAY_NAMES[0]):
            continue
        signs, evidence = [], []
        for chain_row, gan_row in pairs:
            a, b = chain_row["image_mean_sd"], gan_row["image_mean_sd"]
            if np.isnan(a) or np.isnan(b):
                continue
            errors = [sd / np.sqrt(2 * (row["n"] - 1)) for sd, row in ((a, chain_row), (b, gan_row))]
            signs.append(apart(b - a, np.hypot(*errors)))
            evidence.append(f"{epochs_label(chain_row['epochs'])}: sd {compact(a)} against {gan} {compact(b)}")
        if signs:
            found.append(Case(where.rsplit(", ", 1)[0], signs, evidence))
    return found


def rivals(
    table: pd.DataFrame | None, asked: Callable[[int], bool]
) -> Iterator[tuple[str, str, str, str, list[tuple[dict, dict]]]]:
    """Each U-Net with each DCGAN and display: (where, floor's column, distance's, DCGAN, rows at the same epochs)."""
    if table is None:
        return
    metric, floor = tables.distance(table)
    gans, chains = table[table["arm"] == "gan"], table[table["arm"] == "noise"]
    for variant, own in chains.groupby("variant"):
        for gan, other in gans.groupby("variant"):
            for display in DISPLAY_NAMES:
                by_epochs = [
                    {row["epochs"]: row for row in part[part["display"] == display].to_dict("records")}
                    for part in (own, other)
                ]
                common = sorted(epochs for epochs in set.intersection(*map(set, by_epochs)) if asked(epochs))
                pairs = [(by_epochs[0][epochs], by_epochs[1][epochs]) for epochs in common]
                yield f"{variant}, {display}", floor, metric, gan, pairs


def mean_and_error(values: pd.Series) -> tuple[float, float]:
    """Mean and its standard error; infinite for a single value."""
    return float(values.mean()), float(values.sem()) if len(values) > 1 else np.inf


def apart(difference: float, error: float) -> int:
    """The difference's sign where it is beyond twice its standard error, else 0."""
    return int(np.sign(difference)) if abs(difference) > APART * error else 0
