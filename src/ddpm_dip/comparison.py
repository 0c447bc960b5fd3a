"""Two runs side by side: settings that differ, and each cell's metrics with the spread of their difference."""

import numpy as np
import pandas as pd

from . import tables

CELL = ["dataset", "model", "epochs", "start", "passes", "sampler", "steps", "display"]
METRICS = ["fd_classifier", "fid_inception", "image_mean_sd"]


def flatten(config: object, key: str = "") -> dict[str, object]:
    """Nested settings by dotted key; a list is a value, but for a list of mappings with names (models)."""
    if isinstance(config, list) and config and all(isinstance(item, dict) and "name" in item for item in config):
        config = {item["name"]: item for item in config}
    if not isinstance(config, dict):
        return {key: config}
    return {
        name: value
        for part in config
        for name, value in flatten(config[part], f"{key}.{part}" if key else part).items()
    }


def settings(config_a: dict, config_b: dict) -> list[tuple[str, str, str]]:
    """Rows (key, value in A, value in B) of the settings that differ; "-" where one has none."""
    a, b = flatten(config_a), flatten(config_b)
    keys = dict.fromkeys([*a, *b])
    return [(key, str(a.get(key, "-")), str(b.get(key, "-"))) for key in keys if a.get(key, "-") != b.get(key, "-")]


def cells(cells_a: pd.DataFrame, cells_b: pd.DataFrame) -> pd.DataFrame:
    """Cells that both runs have: the keys of CELL, then for each metric a, b, b - a and, where known, its sd.

    cells_a, cells_b: as `tables.read_cells` returns them. The sd of a difference takes the runs as independent; runs
    of one seed share their noise, so that theirs is smaller.
    """
    tables_ab = [table.assign(epochs=table["epochs"].fillna(0)) for table in (cells_a, cells_b)]  # DIP alone has none
    both = tables_ab[0].merge(tables_ab[1], on=CELL, suffixes=("_a", "_b"))
    result = both[CELL].copy()
    for metric in METRICS:
        a, b = both[f"{metric}_a"], both[f"{metric}_b"]
        if a.isna().all() or b.isna().all():
            continue
        result[f"{metric}_a"], result[f"{metric}_b"], result[f"{metric}_diff"] = a, b, b - a
        if f"{metric}_sd_a" in both:
            result[f"{metric}_diff_sd"] = np.hypot(both[f"{metric}_sd_a"], both[f"{metric}_sd_b"])
    return result


def only_in(one: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    """Names of the cells that `one` has and `other` lacks."""
    names = [{cell_name(row) for row in table[CELL].itertuples(index=False)} for table in (one, other)]
    return sorted(names[0] - names[1])


def cell_name(row: tuple) -> str:
    model = f"{row.model}, {tables.epochs_label(row.epochs)}, " if row.model else ""
    steps = f", K = {row.steps}" if row.steps else ""
    return f"{model}{tables.arm_label(tables.arm(row.start, row.sampler), row.passes)}{steps}"


def text(differing: list[tuple[str, str, str]], compared: pd.DataFrame, only_a: list[str], only_b: list[str]) -> str:
    """The comparison for a terminal."""
    lines = ["settings that differ" if differing else "settings: none differ"]
    lines += [f"  {key}: {a} -> {b}" for key, a, b in differing]
    for run, alone in (("A", only_a), ("B", only_b)):
        lines += [f"cells in {run} alone: {len(alone)}", *(f"  {cell}" for cell in alone)] if alone else []
    lines.append(f"cells in both: {len(compared) // len(tables.DISPLAY_NAMES)}")
    for metric in METRICS:
        if f"{metric}_diff" not in compared:
            continue
        displays = tables.DISPLAY_NAMES if metric != "image_mean_sd" else tables.DISPLAY_NAMES[:1]
        for display in displays:
            part = compared[compared["display"] == display].dropna(subset=[f"{metric}_diff"])
            if part.empty:
                continue
            lines += ["", f"{metric}" + (f", {display}" if len(displays) > 1 else "")]
            lines.append(f"  {'cell':<48}{'A':>10}{'B':>10}{'B - A':>11}{'sd':>9}{'B / A':>8}")
            for row in part.itertuples(index=False):
                a, b, difference = (getattr(row, f"{metric}_{name}") for name in ("a", "b", "diff"))
                sd = getattr(row, f"{metric}_diff_sd", float("nan"))
                ratio = f"{b / a:.3f}" if a else "-"
                sd_text = "-" if np.isnan(sd) else f"{sd:.3g}"
                lines.append(f"  {cell_name(row):<48}{a:>10.4g}{b:>10.4g}{difference:>+11.3g}{sd_text:>9}{ratio:>8}")
            q1, median, q3 = part[f"{metric}_diff"].quantile([0.25, 0.5, 0.75])
            lines.append(f"  B - A over {len(part)} cells: median {median:+.3g}, quartiles {q1:+.3g} to {q3:+.3g}")
            if f"{metric}_diff_sd" in part:
                beyond = int((part[f"{metric}_diff"].abs() > 2 * part[f"{metric}_diff_sd"]).sum())
                lines.append(f"  differences beyond two sd: {beyond} of {len(part)}")
    return "\n".join(lines)
