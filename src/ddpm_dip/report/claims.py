"""What the verdicts' tables say, in words: the headline, a claim's evidence, an arm's standing. It judges nothing."""

import json
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..evaluation.measures import MEASURES, OF_TIMING
from ..evaluation.statistics import LEVEL
from . import labels
from .labels import compact

VERDICTS = ("supported", "refuted", "inconclusive", "not asked")
SIGNS = {"supported": "✓", "refuted": "✗", "inconclusive": "?", "not asked": "–"}


def known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value)) and value != ""


def headline(speedups: pd.DataFrame | None, claims: pd.DataFrame | None, dataset: str) -> str:
    """The study's answer in one line, whatever it is: what each claim of saved steps came to, model by model."""
    if speedups is None or speedups.empty:
        if claims is None or not (claims["verdict"] != "not asked").any():
            return "This study asks for no verdict: it has no claims."
        counts = [f"{int((claims['verdict'] == word).sum())} {word}" for word in VERDICTS[:3]]
        return f"Of the claims on {dataset}: {', '.join(counts)}. None is about steps saved."
    found, corrected = [], claims.set_index(["claim", "model"])["p_holm"].to_dict()
    for model, part in speedups.groupby("model", sort=False):
        words = [saved(row, corrected[row["claim"], model]) for row in part.to_dict("records")]
        found.append(f"On {dataset} ({model}): " + "; ".join(words) + ".")
    of_claims = claims[claims["claim"].isin(speedups["claim"])]
    return " ".join(found) + how(of_claims)


def how(claims: pd.DataFrame) -> str:
    """What `as good` means here, and how many nets it rests on."""
    margins = sorted({float(value) for value in claims["margin"]})
    counts = sorted({int(value) for value in claims["replicates"].dropna()})
    nets = f"{' or '.join(map(str, counts))} net{'s' * (counts != [1])}"
    within = " or ".join(f"{margin:.0%}" for margin in margins).replace("%", " %")
    return f" (As good: within {within} of the whole chain's distance; {nets}.)"


def saved(row: Mapping, p_holm: float) -> str:
    """One row of speedups.csv in words. p_holm: of its claim; what holds by itself alone is said to."""
    arm, reference, top = row["arm"], int(row["reference"]), max(each["count"] for each in json.loads(row["trail"]))
    at = "K" if row["axis"] == "steps" else "evaluations"
    if row["verdict"] == "supported":
        k = int(row["k_hi"])
        where = f"from K = {k} on" if row["axis"] == "steps" else f"with {k} evaluations"
        most = row["nfe_ratio_high"]
        times = f"{compact(row['nfe_ratio_low'])} or more" if not known(most) else (
            f"between {compact(row['nfe_ratio_low'])} and {compact(most)}"
        )  # fmt: skip
        seconds = ""
        if known(row["seconds_ratio"]):
            seconds = f", {compact(row['seconds_ratio'])} times less time"
        corrected = f"; taken alone: p {compact(p_holm)} after Holm's correction for all claims"
        alone = corrected if p_holm > 1 - LEVEL else ""
        return f"{arm} does as well as all {reference} steps {where} ({times} times fewer{seconds}{alone})"
    if row["verdict"] == "refuted":
        lowest = f"K = {top}" if at == "K" else f"{top} evaluations"
        return f"{arm} saves no steps (not even {lowest} is as good as all {reference})"
    return f"whether {arm} saves steps is not decided"


def share(row: Mapping) -> tuple[float, float, float, float] | None:
    """A claim's side as a multiple of its reference: estimate, low and high end of its 95 % interval, and what counts.

    The last one is the multiple at which the claim's verdict turns: 1, or 1 and the margin.
    """
    if not known(row["estimate"]) or not known(row["reference"]):
        return None
    values = [row["estimate"], row["ci_low"], row["ci_high"]]
    margin = row["margin"]
    if row["metric"] in OF_TIMING:
        return (*(float(np.exp(value) * (1 + margin)) for value in values), 1 + margin)
    scale = row["reference"] if row["reference"] > 0 else 1.0
    if MEASURES[row["metric"]]:
        return (*(1 + margin + value / scale for value in values), 1 + margin)
    low, high = sorted(values[1:])
    return (*(1 - margin - value / scale for value in (values[0], high, low)), 1 - margin)


def evidence(row: Mapping) -> str:
    """What a verdict rests on, in words."""
    if row["verdict"] == "not asked":
        return row["note"]
    parts, multiple = [], share(row)
    if multiple is not None and np.isfinite(multiple[0]):
        estimate, low, high, turn = (compact(value) for value in multiple)
        word = labels.metric_word(row["metric"])
        parts.append(f"{word} {estimate} times the reference's (95 %: {low} to {high}; the claim needs "
                     f"{'below' if MEASURES[row['metric']] else 'above'} {turn})")  # fmt: skip
    elif multiple is not None:
        parts.append("a chain diverged, which counts as the worst there is")
    if known(row["replicates"]) and row["replicates"]:
        count = int(row["replicates"])
        parts.append(f"{count} replicate{'s' * (count != 1)}, n = {int(row['n'])}: of {row['scope']}")
    elif known(row["scope"]):
        parts.append(f"of {row['scope']}")
    if row["verdict"] == "inconclusive" and known(row["mde"]) and np.isfinite(row["mde"]):
        scale = row["reference"] if row["metric"] not in OF_TIMING and row["reference"] > 0 else 1.0
        parts.append(f"it would take a difference of {100 * row['mde'] / scale:.0f} % to be found with 80 % power")
    if known(row["p_holm"]):
        parts.append(f"p {compact(row['p'])}, after Holm {compact(row['p_holm'])}")
    if known(row["note"]):
        parts.append(row["note"])
    return "; ".join(parts)


def rows_of(claims: pd.DataFrame) -> list[dict]:
    """claims.csv as the page shows it."""
    found = []
    for row in claims.to_dict("records"):
        text = row["statement"] if known(row["statement"]) else row["contrast"]
        found.append({"claim": row["claim"], "statement": text, "model": row["model"] if known(row["model"]) else "",
                      "contrast": row["contrast"], "verdict": row["verdict"], "evidence": evidence(row),
                      "exploratory": str(row["exploratory"]).lower() == "true"})  # fmt: skip
    return found


def standing(differences: pd.DataFrame, display: str = "clamp") -> list[dict]:
    """Each arm with its difference to the starts that cost nothing: mappings of cell, values by start and words."""
    found: dict[tuple, dict] = {}
    for row in differences[differences["display"] == display].to_dict("records"):
        cell = {axis: row.get(axis) for axis in labels.AXES}
        key = tuple(cell.values())
        found.setdefault(key, {"cell": cell, "against": {}})["against"][row["against"]] = row
    return list(found.values())


def against(row: Mapping | None) -> str:
    """A difference in words: better by 35 % (20 to 50), or a tie."""
    if row is None:
        return "–"
    if not known(row["estimate"]) or not np.isfinite(row["estimate"]):
        return row["word"] if known(row["word"]) else "not computed"
    if not known(row["reference"]) or row["reference"] <= 0:
        return f"{row['word']} ({compact(row['estimate'])})"
    percent = [100 * row[name] / row["reference"] for name in ("estimate", "ci_low", "ci_high")]
    return f"{row['word']}: {percent[0]:+.0f} % ({percent[1]:+.0f} to {percent[2]:+.0f})"
