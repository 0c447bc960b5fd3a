"""What the numbers say of a claim: the only place where a verdict is made. Tables in, verdicts out; no files.

The unit is the replicate where both sides have three or more, else the jackknife's block within the nets that there
are; for times it is the round. A side's cells are pooled by their mean. With c the measure, turned so that lower is
better, D = c(a) - (1 + margin) c(b) unit by unit, and below zero supports the claim.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import isotonic_regression

from .measures import CONFIRMED_BY, MEASURES, OF_INTERPOLATION, OF_NOISE, OF_TIMING
from .statistics import LEVEL, Decision, contrast, decide, holm
from .timing import log_ratio

SUPPORTED, REFUTED, INCONCLUSIVE, NOT_ASKED = "supported", "refuted", "inconclusive", "not asked"
REPLICATES = 3  # of a claim about a way of training
LEAST_N = 128  # below it the jackknife breaks: 64 features
ROUNDS = 15
NEAR_ZERO = 2  # standard errors: a reference's distance within them of 0 is no scale


class Tables(NamedTuple):
    """What verdicts go by.

    cells: a row a cell and display, with `path`; pseudo, noise: as those tables, with `path`; seconds: path -> seconds
    an image (rounds,); interpolation: that table, or None.
    """

    cells: pd.DataFrame
    pseudo: pd.DataFrame
    noise: pd.DataFrame
    seconds: Mapping[str, np.ndarray]
    interpolation: pd.DataFrame | None = None


class Units(NamedTuple):
    """A contrast's values, one a unit.

    differences (units,); costs (units,) of the reference, lower is better; scope, of what a decision holds; least_n:
    the smallest number of images among the cells; problem: why nothing can be decided, "" where it can.
    """

    differences: np.ndarray
    reference: float
    scope: str
    replicates: int
    least_n: int
    problem: str = ""


class Judged(NamedTuple):
    decision: Decision | None
    units: Units
    agrees: dict[str, bool]
    verdict: str
    note: str


class Lookup:
    """The tables by cell, so that a claim's cells are found at once."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.cells = {(row["path"], row["display"]): row for row in tables.cells.to_dict("records")}
        self.blocks: dict[tuple, np.ndarray] = {}
        for key, part in tables.pseudo.groupby(["path", "display", "metric"], sort=False):
            self.blocks[key] = part.sort_values("block")["value"].to_numpy(float)
        self.noise = tables.noise.groupby("path")["noise_mad"].mean().to_dict() if len(tables.noise) else {}

    def value(self, path: str, display: str, metric: str) -> float:
        """A cell's measure; NaN where it was not computed, infinitely bad where the cell diverged."""
        if metric in OF_NOISE:
            return self.noise.get(path, np.nan)
        row = self.cells.get((path, display), {})
        value = row.get(metric)
        value = np.nan if value is None else float(value)
        if np.isnan(value) and (row.get("diverged") or 0) > 0:
            return np.inf if MEASURES[metric] else -np.inf
        return value


def signed(metric: str, values: np.ndarray) -> np.ndarray:
    return values if MEASURES[metric] else -values


def difference(metric: str, a: np.ndarray, b: np.ndarray, margin: float) -> np.ndarray:
    """D, from costs (lower is better). A cost that is minus a measure is worse by a margin of it downwards."""
    with np.errstate(invalid="ignore"):
        return contrast(a, b, margin if MEASURES[metric] else -margin)


def units(found: Lookup, strata: Sequence[dict], metric: str, display: str, margin: float) -> Units:
    """A claim's differences: the mean over its strata, each in units of its reference where there are several."""
    if metric in OF_TIMING:
        return time_units(found, strata, margin)
    if metric in OF_INTERPOLATION:
        return way_units(found, strata, metric, display, margin)
    common = [sorted(stratum["a"].keys() & stratum["b"].keys()) for stratum in strata]
    replicates = sorted(set.intersection(*map(set, common)))
    cells = [path for s in strata for side in ("a", "b") for rep in replicates for path in s[side][rep]]
    least_n = min((int(found.cells[path, display]["n"]) for path in cells if (path, display) in found.cells), default=0)
    count = len(replicates)
    scope = "this way of training" if count >= REPLICATES else "this net" if count == 1 else f"these {count} nets"

    def no(problem: str) -> Units:
        return Units(np.array([]), np.nan, scope, count, least_n, problem)

    if not replicates:
        return no("the sides have no replicate in common")
    if display != "clamp" and metric in OF_NOISE:
        return no(f"{metric} has no display")
    values, references = [], []
    for stratum in strata:
        a, b = (
            np.array(
                [np.mean([found.value(path, display, metric) for path in stratum[side][rep]]) for rep in replicates]
            )
            for side in ("a", "b")
        )
        if np.isnan(a).any() or np.isnan(b).any():
            return no(f"{metric} was not computed")
        reference = float(b.mean())
        if (
            CONFIRMED_BY.get(metric)
            and np.isfinite(reference)
            and near_zero(found, stratum["b"], replicates, display, metric, reference)
        ):
            return no("the reference's distance is within two standard errors of zero")
        if count < REPLICATES and np.isfinite(a).all() and np.isfinite(b).all():
            try:
                a, b = (in_blocks(found, stratum[side], replicates, display, metric) for side in ("a", "b"))
            except KeyError:
                return no(f"{metric} has no blocks, so it needs {REPLICATES} replicates")
        d = difference(metric, signed(metric, a), signed(metric, b), margin)
        scale = abs(reference) if len(strata) > 1 else 1.0
        if not scale:
            return no("a reference is 0, which is no unit")
        values.append(d / scale if np.isfinite(scale) else d)
        references.append(reference)
    with np.errstate(invalid="ignore"):
        mean = np.mean(values, axis=0)
    return Units(mean, 1.0 if len(strata) > 1 else references[0], scope, count, least_n)


def in_blocks(found: Lookup, side: dict, replicates: list, display: str, metric: str) -> np.ndarray:
    """A side's pseudo-values (blocks,), the mean over its cells and replicates."""
    return np.mean([found.blocks[path, display, metric] for rep in replicates for path in side[rep]], axis=0)


def near_zero(found: Lookup, side: dict, replicates: list, display: str, metric: str, reference: float) -> bool:
    """Whether a reference's distance is no more than two standard errors, of the images in its nets, above zero."""
    errors = []
    for rep in replicates:
        blocks = [found.blocks.get((path, display, metric)) for path in side[rep]]
        if any(each is None for each in blocks):
            return False
        pooled = np.mean(blocks, axis=0)
        errors.append(pooled.std(ddof=1) / np.sqrt(len(pooled)))
    return reference < NEAR_ZERO * np.sqrt(np.sum(np.square(errors))) / len(errors)


def time_units(found: Lookup, strata: Sequence[dict], margin: float) -> Units:
    """Paired log ratios of times, round by round."""
    values = []
    for stratum in strata:
        sides = []
        for side in ("a", "b"):
            paths = [path for paths in stratum[side].values() for path in paths]
            rounds = [found.tables.seconds.get(path) for path in paths]
            if any(each is None or not len(each) or not np.isfinite(each).all() for each in rounds):
                return Units(np.array([]), 1.0, "this machine", 0, 0, "a side was not timed")
            sides.append(np.mean(rounds, axis=0))
        values.append(log_ratio(*sides) - np.log1p(margin))
    rounds = len(values[0])
    problem = "" if rounds >= ROUNDS else f"{rounds} rounds were timed; a verdict needs {ROUNDS}"
    return Units(np.mean(values, axis=0), 1.0, "this machine", 0, LEAST_N, problem)


def way_units(found: Lookup, strata: Sequence[dict], metric: str, display: str, margin: float) -> Units:
    """Ways between latents: the mean over pairs, paths and spaces; below three replicates, a unit is a pair."""
    table, values, counts, pairs = found.tables.interpolation, [], [], []
    for stratum in strata:
        replicates = sorted(stratum["a"].keys() & stratum["b"].keys(), key=str)
        counts.append(len(replicates))
        sides = []
        for side in ("a", "b"):
            by_unit = []
            for rep in replicates:
                part = ways_of(table, stratum[side][rep], int(rep), display)
                per_pair = part.groupby("pair")[metric].mean().dropna()
                pairs.append(len(per_pair))
                by_unit.append(per_pair.mean() if len(replicates) >= REPLICATES else per_pair)
            if len(replicates) < REPLICATES and by_unit:
                by_unit = pd.concat(by_unit, axis=1).mean(axis=1)
            sides.append(np.asarray(by_unit, dtype=float))
        least = min(map(len, sides), default=0)
        sides = [side[:least] for side in sides]
        values.append(difference(metric, *(signed(metric, side) for side in sides), margin))
        reference = float(np.mean(sides[1])) if least else np.nan
    count = min(counts, default=0)
    scope = "this way of training" if count >= REPLICATES else "this net" if count == 1 else f"these {count} nets"
    least = min(map(len, values), default=0)
    enough = count >= REPLICATES or min(pairs, default=0) >= 8
    problem = "" if least >= 2 and enough else "there are too few pairs of latents: 8 or more decide"
    return Units(np.mean([value[:least] for value in values], axis=0), reference, scope, count, LEAST_N, problem)


def ways_of(table: pd.DataFrame, ways: Sequence[dict], replicate: int, display: str) -> pd.DataFrame:
    """The rows of an interpolation table that are of one of these ways. What does not apply to a model is not asked."""
    here = (table["replicate"] == replicate) & (table["display"] == display)
    chosen = pd.Series(False, index=table.index)
    for way in ways:
        same = here.copy()
        for name, value in way.items():
            if name in table and name != "epochs":
                same &= table[name].isin(value if isinstance(value, list) else [value]) | table[name].isna()
        chosen |= same
    return table[chosen]


def decided(values: np.ndarray) -> Decision | None:
    """`statistics.decide`, with a side that diverged as the worst there is; None where nothing can be said."""
    worse, better = np.isposinf(values).any(), np.isneginf(values).any()
    if np.isnan(values).any() or (worse and better):
        return None
    if worse or better:
        at = np.inf if worse else -np.inf
        return Decision(at, at, at, float(worse), np.inf, REFUTED if worse else SUPPORTED)
    return decide(values) if len(values) > 1 else None


def judge_strata(found: Lookup, strata: Sequence[dict], metric: str, display: str, margin: float) -> Judged:
    """One decision, with what has to agree with it."""
    own = units(found, strata, metric, display, margin)
    if own.problem:
        return Judged(None, own, {}, INCONCLUSIVE, own.problem)
    decision = decided(own.differences)
    if decision is None:
        return Judged(None, own, {}, INCONCLUSIVE, "both sides diverged")
    agrees, missing = {}, []
    for name, other in CONFIRMED_BY.get(metric, {}).items():
        also = units(found, strata, other, display, margin)
        if also.problem:
            missing.append(other)
        else:
            with np.errstate(invalid="ignore"):
                agrees[name] = bool(np.sign(also.differences.mean()) == np.sign(decision.estimate))
    if own.least_n < LEAST_N:
        return Judged(decision, own, agrees, INCONCLUSIVE, f"n = {own.least_n}; a verdict needs {LEAST_N} images")
    if decision.verdict == INCONCLUSIVE:
        return Judged(decision, own, agrees, INCONCLUSIVE, "")
    if missing:
        return Judged(decision, own, agrees, INCONCLUSIVE, f"{' and '.join(missing)} cannot confirm it: not computed")
    against = [CONFIRMED_BY[metric][name] for name, same in agrees.items() if not same]
    if against:
        return Judged(decision, own, agrees, INCONCLUSIVE, f"{' and '.join(against)} points the other way")
    return Judged(decision, own, agrees, decision.verdict, "")


# ---------------------------------------------------------------- steps saved


def saving(found: Lookup, row: dict) -> tuple[dict, Judged]:
    """A row of speedups.csv, and the decision that the claim's verdict rests on.

    In a fixed sequence, which costs no multiplicity: down from the largest count while as good gives k_hi, up from the
    smallest while worse gives k_lo. The ratio of evaluations then lies between reference / k_hi and reference / k_lo,
    each bound one-sided 95 %.
    """
    strata, counted, reference = row["strata"], row["counted"], row["reference_nfe"]
    judged = {s["at"][counted]: judge_strata(found, [s], row["metric"], row["display"], row["margin"]) for s in strata}
    counts = sorted(judged)
    k_hi = k_lo = None
    for k in reversed(counts):
        if judged[k].verdict != SUPPORTED:
            break
        k_hi = k
    for k in counts:
        if judged[k].verdict != REFUTED:
            break
        k_lo = k
    top = judged[counts[-1]]
    basis = judged[k_hi] if k_hi else top
    trail = [
        {"count": k, "verdict": judged[k].verdict, "note": judged[k].note}
        | ({} if (d := judged[k].decision) is None else numbers(d, judged[k].units.reference))
        for k in counts
    ]
    point, low, high = crossing(found, row, counts)
    result = {
        "claim": row["claim"],
        "model": row["model"],
        "arm": row["arm"],
        "axis": counted,
        "reference": reference,
        "k_hi": k_hi,
        "k_lo": k_lo,
        "point": point,
        "point_low": low,
        "point_high": high,
        "nfe_ratio_low": reference / k_hi if k_hi else 1.0,
        "nfe_ratio_high": reference / k_lo if k_lo else np.nan,
        **time_ratio(found, row, k_hi),
        "verdict": basis.verdict,
        "trail": json.dumps(trail),
    }
    return result, basis


def numbers(decision: Decision, reference: float) -> dict:
    """A decision's figures relative to the reference, as JSON takes them."""
    scale = reference if np.isfinite(reference) and reference > 0 else 1.0
    values = {name: getattr(decision, name) / scale for name in ("estimate", "ci_low", "ci_high")}
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in values.items()}


def time_ratio(found: Lookup, row: dict, k_hi: int | None) -> dict:
    """How many times less time the side takes at k_hi than the reference, with its 95 % interval over rounds."""
    empty = dict.fromkeys(("seconds_ratio", "seconds_ratio_low", "seconds_ratio_high"), np.nan)
    if k_hi is None:
        return empty
    stratum = next(s for s in row["strata"] if s["at"][row["counted"]] == k_hi)
    timed = time_units(found, [stratum], 0)
    if timed.problem:
        return empty
    decision = decide(timed.differences)
    names = ("estimate", "ci_high", "ci_low")  # of log(a / b): turned over, the high end is the low one
    return dict(zip(empty, (float(np.exp(-getattr(decision, name))) for name in names), strict=True))


def crossing(found: Lookup, row: dict, counts: list[int]) -> tuple[str, str, str]:
    """The point estimate of the ratio of evaluations, with its jackknifed 95 % interval over replicates, as text.

    Isotonic regression of the distance over log counts, and where it crosses (1 + margin) times the reference's. Beyond
    the counts that were tried it is censored: "<2" or ">10".
    """
    a, b = [], None
    for stratum in sorted(row["strata"], key=lambda s: s["at"][row["counted"]]):
        common = sorted(stratum["a"].keys() & stratum["b"].keys())
        sides = [
            signed(
                row["metric"],
                np.array(
                    [np.mean([found.value(p, row["display"], row["metric"]) for p in stratum[s][r]]) for r in common]
                ),
            )
            for s in ("a", "b")
        ]
        a.append(sides[0])
        b = sides[1]
    a = np.array(a)
    if not a.size or not np.isfinite(a).all() or not np.isfinite(b).all():
        return "", "", ""
    reference, margin = row["reference_nfe"], row["margin"] * (1 if MEASURES[row["metric"]] else -1)

    def log_count(kept: np.ndarray) -> float:
        return first_crossing(np.log(counts), a[:, kept].mean(1), (1 + margin) * b[kept].mean())

    every = np.arange(a.shape[1])
    whole = log_count(every)
    point = ratio_text(reference, whole, counts)
    if len(every) < REPLICATES or not np.isfinite(whole):
        return point, "", ""
    without = np.array([log_count(every[every != r]) for r in every])
    if not np.isfinite(without).all():
        return point, "", ""
    pseudo = len(every) * whole - (len(every) - 1) * without
    half = stats.t.ppf((1 + LEVEL) / 2, len(every) - 1) * pseudo.std(ddof=1) / np.sqrt(len(every))
    low, high = (ratio_text(reference, pseudo.mean() + side * half, counts) for side in (1, -1))
    return point, low, high


def first_crossing(x: np.ndarray, y: np.ndarray, target: float) -> float:
    """Where the decreasing isotonic fit of y over rising x falls to the target; +-inf beyond the ends."""
    fit = isotonic_regression(y, increasing=False).x
    if fit[0] <= target:
        return -np.inf
    if fit[-1] > target:
        return np.inf
    right = int(np.argmax(fit <= target))
    left = right - 1
    return float(x[left] + (fit[left] - target) / (fit[left] - fit[right]) * (x[right] - x[left]))


def ratio_text(reference: int, log_count: float, counts: list[int]) -> str:
    """reference / count to three digits; censored at the counts tried."""
    if log_count <= np.log(counts[0]):
        return f">{reference / counts[0]:.3g}" if log_count < np.log(counts[0]) else f"{reference / counts[0]:.3g}"
    if log_count > np.log(counts[-1]):
        return f"<{reference / counts[-1]:.3g}"
    return f"{reference / np.exp(log_count):.3g}"


# ---------------------------------------------------------------- all claims


def judge(rows: Sequence[dict], tables: Tables, changed: Mapping[str, str]) -> tuple[list[dict], list[dict]]:
    """The rows of claims.csv and of speedups.csv, from what `study.claims` asks.

    rows: mappings with claim, statement, contrast, kind, model, metric, display, margin, exploratory, counted,
    reference_nfe, arm, not_asked and strata, each with at, a and b (replicate -> paths). changed: claim -> what is to
    be said of a claim that is not as it was when its first sample was drawn.
    """
    found, savings, judged = Lookup(tables), [], []
    for row in rows:
        shared = {
            name: row[name]
            for name in ("claim", "statement", "contrast", "model", "metric", "display", "margin", "exploratory")
        }
        if row["not_asked"]:
            judged.append(shared | {"verdict": NOT_ASKED, "note": row["not_asked"]})
            continue
        if row["kind"] == "saves-steps":
            saved, basis = saving(found, row)
            savings.append(saved)
        else:
            basis = judge_strata(found, row["strata"], row["metric"], row["display"], row["margin"])
        of_units = {"scope": basis.units.scope, "replicates": basis.units.replicates, "n": basis.units.least_n}
        of_test = {} if basis.decision is None else basis.decision._asdict()
        of_test.pop("verdict", None)
        agreement = {f"agrees_{name}": same for name, same in basis.agrees.items()}
        note = "; ".join(filter(None, (basis.note, changed.get(row["claim"], ""))))
        judged.append(
            shared
            | of_units
            | of_test
            | agreement
            | {"reference": basis.units.reference, "verdict": basis.verdict, "note": note}
        )
    family = [each for each in judged if "p" in each and not each["exploratory"]]
    for each, p in zip(family, holm([each["p"] for each in family]), strict=True):
        each["p_holm"] = float(p)
        if each["verdict"] == SUPPORTED and p > 1 - LEVEL:
            each["note"] = "; ".join(
                filter(None, (each["note"], "by itself; not after Holm's correction for all claims"))
            )
    return judged, savings


# ---------------------------------------------------------------- arm by arm

BETTER, WORSE, TIE = "better", "worse", "tie"


def differences(pairs: Sequence[dict], tables: Tables) -> list[dict]:
    """The rows of differences.csv: each arm's paired difference to another start, and a word; ties are said to be ties.

    pairs: mappings with axes (of the arm), against, display, metric, a and b (replicate -> paths).
    """
    found, rows = Lookup(tables), []
    for pair in pairs:
        judged = judge_strata(found, [{"a": pair["a"], "b": pair["b"], "at": {}}], pair["metric"], pair["display"], 0.0)
        word = {SUPPORTED: BETTER, REFUTED: WORSE}.get(judged.verdict, TIE)
        decision = judged.decision
        rows.append(
            pair["axes"]
            | {
                "display": pair["display"],
                "against": pair["against"],
                "replicates": judged.units.replicates,
                "n": judged.units.least_n,
                "estimate": np.nan if decision is None else decision.estimate,
                "ci_low": np.nan if decision is None else decision.ci_low,
                "ci_high": np.nan if decision is None else decision.ci_high,
                "reference": judged.units.reference,
                "word": word if decision is not None else "",
                "note": judged.note,
            }
        )
    return rows
