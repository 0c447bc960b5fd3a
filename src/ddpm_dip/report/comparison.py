"""Two runs side by side: settings that differ, and each cell's metrics with the standard error of their difference."""

import numpy as np
import pandas as pd

from ..study.axes import AXES
from . import labels
from .labels import flatten
from .tables import METRICS

CELL = [*AXES, "display"]
SPREADS = [f"{name}_se" for name in METRICS if f"{name}_se" in METRICS]  # of another metric: not compared themselves
COMPARED = [name for name in METRICS if name not in SPREADS]


def settings(config_a: dict, config_b: dict) -> list[tuple[str, str, str]]:
    """Rows (key, value in A, value in B) of the settings that differ; "-" where one has none."""
    a, b = flatten(config_a), flatten(config_b)
    keys = dict.fromkeys([*a, *b])
    return [(key, str(a.get(key, "-")), str(b.get(key, "-"))) for key in keys if a.get(key, "-") != b.get(key, "-")]


def cells(cells_a: pd.DataFrame, cells_b: pd.DataFrame) -> pd.DataFrame:
    """Cells that both runs have: the columns of CELL, for each metric a, b, b - a and, if known, its standard error.

    cells_a, cells_b: as `tables.read_cells` returns them. The standard error of a difference takes the runs as
    independent; runs of one seed share their noise, so that theirs is smaller.
    """
    both = cells_a.merge(cells_b[["path", "display", *METRICS]], on=["path", "display"], suffixes=("_a", "_b"))
    result = both[CELL].copy()
    for metric in COMPARED:
        a, b = both[f"{metric}_a"], both[f"{metric}_b"]
        if a.isna().all() or b.isna().all():
            continue
        result[f"{metric}_a"], result[f"{metric}_b"], result[f"{metric}_diff"] = a, b, b - a
        if f"{metric}_se_a" in both:
            result[f"{metric}_diff_se"] = np.hypot(both[f"{metric}_se_a"], both[f"{metric}_se_b"])
    return result


def only_in(one: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    """Names of the cells that `one` has and `other` lacks."""
    lacking = one[~one["path"].isin(set(other["path"]))]
    return sorted({labels.name(row) for row in lacking.to_dict("records")})


def text(differing: list[tuple[str, str, str]], compared: pd.DataFrame, only_a: list[str], only_b: list[str]) -> str:
    """The comparison for a terminal."""
    lines = ["settings that differ" if differing else "settings: none differ"]
    lines += [f"  {key}: {a} -> {b}" for key, a, b in differing]
    for run, alone in (("A", only_a), ("B", only_b)):
        lines += [f"cells in {run} alone: {len(alone)}", *(f"  {cell}" for cell in alone)] if alone else []
    lines.append(f"cells in both: {len(compared) // len(labels.DISPLAY_NAMES)}")
    for metric in COMPARED:
        if f"{metric}_diff" not in compared:
            continue
        displays = labels.DISPLAY_NAMES if METRICS[metric].by_display else labels.DISPLAY_NAMES[:1]
        for display in displays:
            part = compared[compared["display"] == display].dropna(subset=[f"{metric}_diff"])
            if part.empty:
                continue
            lines += ["", f"{metric}" + (f", {display}" if len(displays) > 1 else "")]
            lines.append(f"  {'cell':<48}{'A':>10}{'B':>10}{'B - A':>11}{'se':>9}{'B / A':>8}")
            for row in part.to_dict("records"):
                a, b, difference = (row[f"{metric}_{name}"] for name in ("a", "b", "diff"))
                se = row.get(f"{metric}_diff_se", float("nan"))
                ratio = f"{b / a:.3f}" if a else "-"
                se_text = "-" if np.isnan(se) else f"{se:.3g}"
                name = labels.name(row)
                lines.append(f"  {name:<48}{a:>10.4g}{b:>10.4g}{difference:>+11.3g}{se_text:>9}{ratio:>8}")
            q1, median, q3 = part[f"{metric}_diff"].quantile([0.25, 0.5, 0.75])
            lines.append(f"  B - A over {len(part)} cells: median {median:+.3g}, quartiles {q1:+.3g} to {q3:+.3g}")
    return "\n".join(lines)
