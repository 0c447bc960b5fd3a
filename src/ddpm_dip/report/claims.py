"""What the verdicts' tables say, in words: the headline, a claim's evidence, an arm's standing. It judges nothing."""

import json
import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..evaluation.measures import CONFIRMED_BY, MEASURES, OF_INTERPOLATION, OF_TIMING
from ..evaluation.verdicts import ALONE
from . import labels
from .labels import compact

CLIPPED = f", {labels.AXES['clip_x0'].label(True)}"
SHORT = ALONE.partition(",")[0]
RESERVES = (ALONE, "changed", "added", "a side diverged")  # how such parts of a note begin
VERDICTS = ("supported", "refuted", "inconclusive", "not asked")


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
        shared = CLIPPED if all(row[side].endswith(CLIPPED) for row in rows for side in ("arm", "against")) else ""
        rows = [row | {side: row[side].removesuffix(shared) for side in ("arm", "against")} for row in rows]
        arms: dict[str, list[str]] = {}  # by what is said of them
        for row in rows:
            if row["verdict"] != "inconclusive":
                said = saved(row).removeprefix(arm_of(row)) + reserve(judged[row["claim"], model])
                names = arms.setdefault(said, [])
                names += [arm_of(row)] * (arm_of(row) not in names)
        words = [listed(names) + (said if len(names) == 1 else plural(said)) for said, names in arms.items()]
        still_open: dict[str, list[str]] = {}  # by what they are compared with, where an arm is with more than one
        for row in rows:
            if row["verdict"] == "inconclusive":
                also = {each["against"] for each in rows if each["arm"] == row["arm"]} - {row["against"]}
                still_open.setdefault(f"against {row['against']}, " * bool(also), []).append(arm_of(row))
        words += [against + undecided(list(dict.fromkeys(names))) for against, names in still_open.items()]
        found.append(f"On {dataset} ({model}{shared}): " + "; ".join(words) + ".")
    of_claims = claims[claims["claim"].isin(speedups["claim"])]
    return " ".join(found) + how(of_claims)


def clauses(headline: str) -> list[str]:
    """A headline in lines: at semicolons that are not in brackets, at another model, and at the last brackets."""
    return re.split(r"(?<=;) (?![^(]*\))|(?<=\.) (?=\(|On )", headline)


def listed(names: list[str], last: str = " and ") -> str:
    return last.join(filter(None, (", ".join(names[:-1]), names[-1])))


def plural(said: str) -> str:
    """What is said of one arm, said of several."""
    return said.replace(" saves ", " save ", 1).replace(" does ", " do ", 1)


def how(claims: pd.DataFrame) -> str:
    """What the headline's words mean here, and how many nets it rests on."""
    margins = sorted({float(value) for value in claims["margin"]})
    counts = sorted({int(value) for value in claims["replicates"].dropna()})
    nets = f"{' or '.join(map(str, counts))} net{'s' * (counts != [1])}"
    within = " or ".join(f"{margin:.0%}" for margin in margins).replace("%", " %")
    told_alone = any(SHORT in reserve(row) for row in claims.to_dict("records"))
    alone = f"{SHORT.capitalize()}:{ALONE.removeprefix(SHORT + ',')}. " if told_alone else ""
    displays = sorted(set(claims["display"]))
    shown = "" if displays == ["clamp"] else f"; {' and '.join(displays)} display"
    worse = ", worse: by more" if (claims["verdict"] == "refuted").any() else ""
    return f" ({alone}As good: at most {within} farther than the whole chain{worse}; {nets}{shown}.)"


def saved(row: Mapping) -> str:
    """One row of speedups.csv in words."""
    arm, reference, by_steps = arm_of(row), int(row["reference"]), row["axis"] == "steps"
    whole = f"all {reference} steps{clipping(row)}"
    if row["verdict"] == "supported":
        k = int(row["k_hi"])
        where = f"from K = {k} on" if by_steps else f"with {k} evaluations"
        most = row["nfe_ratio_high"]
        times = f"{compact(row['nfe_ratio_low'])} or more" if not known(most) else (
            f"between {compact(row['nfe_ratio_low'])} and {compact(most)}"
        )  # fmt: skip
        seconds = ""
        if known(row["seconds_ratio"]):
            seconds = f", {compact(100 / row['seconds_ratio'])} % of the time"
        return f"{arm} does as well as {whole} {where} ({times} times fewer{seconds})"
    if row["verdict"] == "refuted":
        top = max(each["count"] for each in json.loads(row["trail"]))
        most = f"K = {top}, the largest tried, is" if by_steps else f"{top} evaluations, the most tried, are"
        less = f"any saving is below {compact(reference / top)} times"
        return f"{arm} saves no steps as far as was tried ({most} worse than {whole}; {less})"
    return undecided([arm])


def arm_of(row: Mapping) -> str:
    """What saves steps, in words; the reference's own arm does so with fewer of its steps."""
    return f"{row['arm']} cut short" if row["arm"] == row["against"] else row["arm"]


def clipping(row: Mapping) -> str:
    """What is to be said of a reference that is clipped where the arm is not, or the other way round."""
    arm, against = (row[side].endswith(CLIPPED) for side in ("arm", "against"))
    return "" if arm == against else " clipped" if against else " not clipped"


def undecided(arms: list[str]) -> str:
    return f"whether {listed(arms, ' or ')} saves steps is not decided"


def reserve(row: Mapping) -> str:
    """What is to be said at once of a verdict, after a dash: that it is exploratory, or is not as it was planned."""
    said = ["exploratory"] if told_true(row["exploratory"]) else []
    notes = [part for part in str(row["note"]).split("; ") if part.startswith(RESERVES)]
    said += [SHORT if part == ALONE else part for part in notes]
    return f" – {', '.join(said)}" if said and row["verdict"] != "inconclusive" else ""


def told_true(value: object) -> bool:
    """Whether a column of a table that was read back says true."""
    return str(value).lower() == "true"


def share(row: Mapping) -> dict[str, float] | None:
    """How a claim's side differs from its reference, None where that is not above zero or nothing was estimated.

    As a share of the reference's mean, which is taken as given; of times, as the ratio, round by round. estimate;
    low and high: the ends of its two-sided 95 % interval; bound: the one-sided 95 % bound that decides, the upper one
    but of what is refuted, with the margin but of times; turn: where the verdict turns.
    """
    if not known(row["difference"]) or not known(row["reference"]) or row["reference"] <= 0:
        return None
    ends = {"estimate": "difference", "low": "difference_low", "high": "difference_high"}
    found = {name: row[column] / row["reference"] for name, column in ends.items()}
    bound = row["bound_low" if row["verdict"] == "refuted" else "bound_high"] / row["reference"]
    if row["metric"] in OF_TIMING:  # a margin is a factor there, and so only shifts a bound
        found = {name: float(np.exp(value)) for name, value in found.items()}
        return found | {"bound": differs(row, bound), "turn": differs(row, 0.0)}
    return found | {"bound": bound if MEASURES[row["metric"]] else -bound, "turn": 0.0}


def differs(row: Mapping, contrast: float) -> float:
    """A contrast in units of the reference as the difference that it is: no margin, and up where the side has more."""
    if row["metric"] in OF_TIMING:
        return float(np.exp(contrast) * (1 + row["margin"]))
    return row["margin"] + contrast if MEASURES[row["metric"]] else -row["margin"] - contrast


def evidence(row: Mapping) -> str:
    """What a verdict rests on, in words."""
    if row["verdict"] == "not asked":
        return row["note"]
    parts, found = [], share(row)
    if found is not None and np.isfinite(found["estimate"]):
        told = {name: share_text(row, value) for name, value in found.items()}
        side = "below" if MEASURES[row["metric"]] else "above"
        needs = f"not {side} the {told['turn']} it needs" if row["verdict"] == "refuted" else (
            f"which is to be {side} {told['turn']}"
        )  # fmt: skip
        within = row["margin"] > 0 and row["metric"] not in OF_TIMING
        bound = f"with the margin of {100 * row['margin']:g} %, one-sided bound" if within else "one-sided bound"
        joint = "times" if row["metric"] in OF_TIMING else "against"
        at, mean = places(row)
        parts.append(
            f"{measure(row)}{at} {told['estimate']} {joint} that of {row['against']}{mean} "
            f"(95 %: {told['low']} to {told['high']}; {bound} {told['bound']}, {needs})"
        )
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
        parts.append(found_from(row))
    if known(row["p_holm"]):
        parts.append(f"p {compact(row['p'])}, after Holm {compact(row['p_holm'])}")
    if known(row["note"]):
        parts.append(row["note"])
    return "; ".join(parts)


def measure(row: Mapping) -> str:
    """The measure in short, with the display where that is not the usual one."""
    return labels.metric_word(row["metric"]) + f" ({row['display']})" * (row["display"] != "clamp")


def found_from(row: Mapping) -> str:
    """From what difference on so many units would support a claim, in words."""
    if not known(row["reference"]) or row["reference"] <= 0:
        return f"with 80 % power it would be supported from a contrast of -{compact(row['mde'])} down"
    from_there = differs(row, -row["mde"] / row["reference"])
    if row["metric"] in CONFIRMED_BY and from_there <= -1:
        return "with 80 % power not even a distance of zero would be seen to support it"
    side = "down" if MEASURES[row["metric"]] else "up"
    return f"with 80 % power it would be supported from {share_text(row, from_there)} {side}"


def share_text(row: Mapping, value: float) -> str:
    """What `share` gives, in words: +88 %, or 1.02 of times."""
    if row["metric"] in OF_TIMING:
        return compact(value)
    decimals = sum(abs(value) < least for least in (0.0995, 0.000995))
    return f"{100 * value:+.{decimals}f} %" if value else "0 %"


def places(row: Mapping) -> tuple[str, str]:
    """Where a claim was judged: the one K or number of evaluations, or each place that the estimate is made of.

    A distance is the mean of what it comes to there; of shares the means are compared, see `verdicts.units`.
    """
    parts = json.loads(row["parts"])
    if len(parts) == 1:
        counts = {axis: value for axis, value in parts[0]["at"].items() if axis in ("steps", "nfe")}
        return "".join(f" at {place_text(axis, value)}" for axis, value in counts.items()), ""
    axes = [axis for axis in parts[0]["at"] if len({json.dumps(part["at"][axis]) for part in parts}) > 1]
    told = []
    for part in parts:
        value = part.get("estimate")
        place = ", ".join(place_text(axis, part["at"][axis]) for axis in axes)
        told.append(f"{place} ({'–' if value is None else share_text(row, differs(row, value))})")
    of_distances = MEASURES[row["metric"]] and row["metric"] not in OF_INTERPOLATION
    pooled = "the mean over" if of_distances else "by the means over"
    return "", f", {pooled} {' and '.join(told)}"


def place_text(axis: str, value: object) -> str:
    return labels.AXES[axis].label(value) if axis in labels.AXES else str(value)


def rows_of(claims: pd.DataFrame) -> list[dict]:
    """claims.csv as the page shows it."""
    found = []
    for row in claims.to_dict("records"):
        text = row["statement"] if known(row["statement"]) else row["contrast"]
        found.append({"claim": row["claim"], "statement": text, "model": row["model"] if known(row["model"]) else "",
                      "contrast": row["contrast"], "verdict": row["verdict"], "evidence": evidence(row),
                      "display": "" if row["display"] == "clamp" else f"{row['display']} display",
                      "exploratory": told_true(row["exploratory"])})  # fmt: skip
    return found


def standing(differences: pd.DataFrame, display: str) -> list[dict]:
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
    k = row.get("against_steps")
    at = f" against K = {int(k)}" if known(k) and k != row["steps"] else ""
    if not known(row["reference"]) or row["reference"] <= 0:
        return f"{row['word']}{at} ({compact(row['estimate'])})"
    percent = [100 * row[name] / row["reference"] for name in ("estimate", "ci_low", "ci_high")]
    why = f"; {row['note']}" if row["word"] == "undecided" else ""
    return f"{row['word']}: {percent[0]:+.0f} %{at} ({percent[1]:+.0f} to {percent[2]:+.0f}){why}"
