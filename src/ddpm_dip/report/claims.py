"""What the verdicts' tables say, in words: the headline, a claim's evidence, an arm's standing. It judges nothing."""

import json
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..evaluation.measures import MEASURES, OF_INTERPOLATION, OF_TIMING
from ..evaluation.verdicts import ALONE
from . import labels
from .labels import compact

CLIPPED = f", {labels.AXES['clip_x0'].label(True)}"
RESERVES = (ALONE, "changed", "added", "a side diverged")  # how such parts of a note begin
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
    found, judged = [], {(row["claim"], row["model"]): row for row in claims.to_dict("records")}
    for model, part in speedups.groupby("model", sort=False):
        rows = part.to_dict("records")
        shared = CLIPPED if all(row["arm"].endswith(CLIPPED) for row in rows) else ""
        rows = [row | {"arm": row["arm"].removesuffix(shared)} for row in rows]
        words = [saved(row) + reserve(judged[row["claim"], model]) for row in rows if row["verdict"] != "inconclusive"]
        if open_arms := list(dict.fromkeys(row["arm"] for row in rows if row["verdict"] == "inconclusive")):
            words.append(undecided(open_arms))
        found.append(f"On {dataset} ({model}{shared}): " + "; ".join(words) + ".")
    of_claims = claims[claims["claim"].isin(speedups["claim"])]
    return " ".join(found) + how(of_claims)


def how(claims: pd.DataFrame) -> str:
    """What `as good` means here, and how many nets it rests on."""
    margins = sorted({float(value) for value in claims["margin"]})
    counts = sorted({int(value) for value in claims["replicates"].dropna()})
    nets = f"{' or '.join(map(str, counts))} net{'s' * (counts != [1])}"
    within = " or ".join(f"{margin:.0%}" for margin in margins).replace("%", " %")
    return f" (As good: within {within} of the whole chain's distance; {nets}.)"


def saved(row: Mapping) -> str:
    """One row of speedups.csv in words."""
    arm, reference, top = row["arm"], int(row["reference"]), max(each["count"] for each in json.loads(row["trail"]))
    by_steps = row["axis"] == "steps"
    if row["verdict"] == "supported":
        k = int(row["k_hi"])
        where = f"from K = {k} on" if by_steps else f"with {k} evaluations"
        most = row["nfe_ratio_high"]
        times = f"{compact(row['nfe_ratio_low'])} or more" if not known(most) else (
            f"between {compact(row['nfe_ratio_low'])} and {compact(most)}"
        )  # fmt: skip
        seconds = ""
        if known(row["seconds_ratio"]):
            seconds = f", {compact(row['seconds_ratio'])} times less time"
        return f"{arm} does as well as all {reference} steps {where} ({times} times fewer{seconds})"
    if row["verdict"] == "refuted":
        most = f"the largest K tried, {top}," if by_steps else f"{top} evaluations, the most tried,"
        return f"{arm} saves no steps (even {most} {'is' if by_steps else 'are'} worse than all {reference})"
    return undecided([arm])


def undecided(arms: list[str]) -> str:
    *others, last = arms
    return f"whether {', '.join(others) + ' or ' * bool(others)}{last} saves steps is not decided"


def reserve(row: Mapping) -> str:
    """What is to be said at once of a verdict, after a dash: that it is exploratory, or is not as it was planned."""
    said = ["exploratory"] if told_true(row["exploratory"]) else []
    said += [part for part in str(row["note"]).split("; ") if part.startswith(RESERVES)]
    return f" – {', '.join(said)}" if said and row["verdict"] != "inconclusive" else ""


def told_true(value: object) -> bool:
    """Whether a column of a table that was read back says true."""
    return str(value).lower() == "true"


def share(row: Mapping) -> dict[str, float] | None:
    """A claim's side as a multiple of its reference, None where that is not above zero or nothing was estimated.

    estimate; low and high: the ends of its two-sided 95 % interval; bound: the one-sided 95 % bound that decides, the
    upper one but of what is refuted; turn: the multiple at which the verdict turns, 1, or 1 and the margin.
    """
    if not known(row["estimate"]) or not known(row["reference"]):
        return None
    margin, lower, scale = row["margin"], MEASURES[row["metric"]], row["reference"]
    if scale <= 0:
        return None

    def multiple(value: float) -> float:
        if row["metric"] in OF_TIMING:
            return float(np.exp(value) * (1 + margin))
        return 1 + margin + value / scale if lower else 1 - margin - value / scale

    low, high = sorted((multiple(row["ci_low"]), multiple(row["ci_high"])))
    bound = multiple(row["bound_low" if row["verdict"] == "refuted" else "bound_high"])
    turn = 1 + margin if lower else 1 - margin
    return {"estimate": multiple(row["estimate"]), "low": low, "high": high, "bound": bound, "turn": turn}


def evidence(row: Mapping) -> str:
    """What a verdict rests on, in words."""
    if row["verdict"] == "not asked":
        return row["note"]
    parts, found = [], share(row)
    if found is not None and np.isfinite(found["estimate"]):
        told = {name: compact(value) for name, value in found.items()}
        side = "below" if MEASURES[row["metric"]] else "above"
        needs = f"not {side} the {told['turn']} it needs" if row["verdict"] == "refuted" else (
            f"which is to be {side} {told['turn']}"
        )  # fmt: skip
        parts.append(f"{labels.metric_word(row['metric'])} {told['estimate']} times the reference's "
                     f"(95 %: {told['low']} to {told['high']}; one-sided bound {told['bound']}, {needs})")  # fmt: skip
    elif known(row["estimate"]) and np.isfinite(row["estimate"]):
        ends = " to ".join(compact(row[end]) for end in ("ci_low", "ci_high"))
        parts.append(f"contrast {compact(row['estimate'])} (95 %: {ends}); below 0 supports it")
    if known(row["replicates"]) and row["replicates"]:
        count = int(row["replicates"])
        unit = "pairs" if row["metric"] in OF_INTERPOLATION else "n"
        parts.append(f"{count} replicate{'s' * (count != 1)}, {unit} = {int(row['n'])}: of {row['scope']}")
    elif known(row["scope"]):
        parts.append(f"of {row['scope']}")
    open_itself = row["verdict"] == "inconclusive" and row["bound_low"] <= 0 <= row["bound_high"]
    if open_itself and known(row["mde"]) and np.isfinite(row["mde"]):
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
                      "exploratory": told_true(row["exploratory"])})  # fmt: skip
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
    """A difference in words: better by 35 % (20 to 50), a tie, or why it is undecided."""
    if row is None:
        return "–"
    if not known(row["estimate"]) or not np.isfinite(row["estimate"]):
        return row["word"] if known(row["word"]) else row["note"] if known(row["note"]) else "not computed"
    if not known(row["reference"]) or row["reference"] <= 0:
        return f"{row['word']} ({compact(row['estimate'])})"
    percent = [100 * row[name] / row["reference"] for name in ("estimate", "ci_low", "ci_high")]
    why = f"; {row['note']}" if row["word"] == "undecided" else ""
    return f"{row['word']}: {percent[0]:+.0f} % ({percent[1]:+.0f} to {percent[2]:+.0f}){why}"
