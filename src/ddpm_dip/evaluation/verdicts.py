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

from .measures import BIASED, CONFIRMED_BY, LEAST_N, MEASURES, OF_INTERPOLATION, OF_NOISE, OF_TIMING
from .statistics import LEVEL, Decision, contrast, decide, holm, standard_error
from .timing import log_ratio

ALONE = "taken alone, not after Holm's correction for all claims"
SUPPORTED, REFUTED, INCONCLUSIVE, NOT_ASKED = "supported", "refuted", "inconclusive", "not asked"
REPLICATES = 3  # of a claim about a way of training
ROUNDS = 15
PAIRS = 8  # of latents
NEAR_ZERO = 2  # standard errors


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

    differences (units,): NaN or infinite where a cell diverged; reference: the unit that the report tells them in;
    scope: of what a decision holds; n: the smallest number of images among the cells, or of pairs of latents, None of
    times; few: why there is too little of them for a verdict; problem: why there are no differences. Both "" where all
    is well.
    """

    differences: np.ndarray
    reference: float
    scope: str
    replicates: int
    n: int | None
    few: str = ""
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
        self.noise = {path: part.mean(skipna=False) for path, part in tables.noise.groupby("path")["noise_mad"]}

    def value(self, path: str, display: str, metric: str) -> float:
        """A cell's measure; NaN where it was not computed, infinitely bad where the cell diverged."""
        row = self.cells.get((path, display), {})
        value = self.noise.get(path) if metric in OF_NOISE else row.get(metric)
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


def scope_of(replicates: int) -> str:
    many = replicates >= REPLICATES
    return "this way of training" if many else "this net" if replicates == 1 else f"these {replicates} nets"


def units(
    found: Lookup, strata: Sequence[dict], metric: str, display: str, margin: float, confirming: bool = False
) -> Units:
    """A claim's differences: the mean over its strata, where there are several each in units of its reference.

    Measures of which higher is better are shares, or nearly so: they have a scale of their own, and one that is zero at
    a reference is a value like others, so they are taken as they are. confirming: the sign of the differences alone is
    asked for, and so a reference near zero is no matter.
    """
    if metric in OF_TIMING:
        return time_units(found, strata, margin)
    if metric in OF_INTERPOLATION:
        return way_units(found, strata, metric, display, margin)
    common = [sorted(stratum["a"].keys() & stratum["b"].keys()) for stratum in strata]
    replicates = sorted(set.intersection(*map(set, common)))
    cells = [path for s in strata for side in ("a", "b") for rep in replicates for path in s[side][rep]]
    n = min((int(found.cells[path, display]["n"]) for path in cells if (path, display) in found.cells), default=0)
    count = len(replicates)

    def no(problem: str) -> Units:
        return Units(np.array([]), np.nan, scope_of(count), count, n, problem=problem)

    if not replicates:
        return no("the sides have no replicate in common")
    if display != "clamp" and metric in OF_NOISE:
        return no(f"{metric} has no display")
    if metric in BIASED:
        return no(f"{metric} has a bias that depends on the images, so no verdict rests on it")
    sides = [
        [
            np.array(
                [np.mean([found.value(path, display, metric) for path in stratum[side][rep]]) for rep in replicates]
            )
            for side in ("a", "b")
        ]
        for stratum in strata
    ]
    if np.isnan(sides).any():
        return no(f"{metric} was not computed")
    references = np.mean([b for _, b in sides], axis=1)
    relative = len(strata) > 1 and MEASURES[metric]
    if relative and not references.all():
        return no("a reference is 0, which is no unit")
    by_block = count < REPLICATES and np.isfinite(sides).all()  # a diverged cell has no blocks
    values = []
    for stratum, (a, b), reference in zip(strata, sides, references, strict=True):
        asked = metric in CONFIRMED_BY and not confirming
        if asked and (why := near_zero(found, stratum["b"], replicates, display, metric, reference)):
            return no(why)
        if by_block:
            try:
                a, b = (in_blocks(found, stratum[side], replicates, display, metric) for side in ("a", "b"))
            except KeyError:
                return no(f"{metric} has no blocks, so it needs {REPLICATES} replicates")
        d = difference(metric, signed(metric, a), signed(metric, b), margin)
        values.append(d / abs(reference) if relative and np.isfinite(reference) else d)
    with np.errstate(invalid="ignore"):
        mean = np.mean(values, axis=0)
    few = "" if n >= LEAST_N else f"n = {n}; a verdict needs {LEAST_N} images"
    return Units(mean, 1.0 if relative else float(references.mean()), scope_of(count), count, n, few)


def in_blocks(found: Lookup, side: dict, replicates: list, display: str, metric: str) -> np.ndarray:
    """A side's pseudo-values (blocks,), the mean over its cells and replicates."""
    return np.mean([found.blocks[path, display, metric] for rep in replicates for path in side[rep]], axis=0)


def near_zero(found: Lookup, side: dict, replicates: list, display: str, metric: str, reference: float) -> str:
    """Why a reference's distance is no scale: it is no more than two standard errors above zero. "" where it is one.

    The error is that of the images, which all nets are compared with, and where there are nets enough of these.
    """
    if not np.isfinite(reference):
        return ""
    try:
        by_net = [in_blocks(found, side, [rep], display, metric) for rep in replicates]
    except KeyError:
        return ""
    if reference < NEAR_ZERO * standard_error(np.mean(by_net, axis=0)):
        return "the reference's distance is within two standard errors of zero"
    if len(replicates) >= REPLICATES and reference < NEAR_ZERO * standard_error(np.mean(by_net, axis=1)):
        return "the reference's distance differs so much between nets that it is within two standard errors of zero"
    return ""


def time_units(found: Lookup, strata: Sequence[dict], margin: float) -> Units:
    """Paired log ratios of times, round by round."""
    values = []
    for stratum in strata:
        sides = []
        for side in ("a", "b"):
            paths = [path for paths in stratum[side].values() for path in paths]
            rounds = [found.tables.seconds.get(path) for path in paths]
            if any(each is None or not len(each) or not np.isfinite(each).all() for each in rounds):
                return Units(np.array([]), 1.0, "this machine", 0, None, problem="a side was not timed")
            sides.append(np.mean(rounds, axis=0))
        values.append(log_ratio(*sides) - np.log1p(margin))
    rounds = len(values[0])
    few = "" if rounds >= ROUNDS else f"{rounds} rounds were timed; a verdict needs {ROUNDS}"
    return Units(np.mean(values, axis=0), 1.0, "this machine", 0, None, few)


def way_units(found: Lookup, strata: Sequence[dict], metric: str, display: str, margin: float) -> Units:
    """Ways between latents: the mean over pairs, paths and spaces; below three replicates, a unit is a pair.

    A pair that is missing on one side, or has no value, is one that diverged there.
    """
    values, references, counts, pairs = [], [], [], []
    for stratum in strata:
        replicates = sorted(stratum["a"].keys() & stratum["b"].keys(), key=str)
        counts.append(len(replicates))
        tables = [
            pd.DataFrame({rep: pair_values(found, stratum[side][rep], int(rep), metric, display) for rep in replicates})
            for side in ("a", "b")
        ]
        if not replicates or any(table.empty or table.isna().all().any() for table in tables):
            problem = f"{metric} was not computed"
            return Units(np.array([]), np.nan, scope_of(min(counts)), min(counts), 0, problem=problem)
        every = tables[0].index.union(tables[1].index)
        pairs.append(len(every))
        a, b = (table.reindex(every).fillna(np.inf).mean(axis=len(replicates) < REPLICATES) for table in tables)
        values.append(difference(metric, signed(metric, a.to_numpy()), signed(metric, b.to_numpy()), margin))
        references.append(b.mean())
    count, least = min(counts), min(pairs)
    few = "" if least >= PAIRS else f"{least} pairs of latents; a verdict needs {PAIRS}"
    if len({len(each) for each in values}) > 1:
        problem = "its ways have other numbers of pairs"
        return Units(np.array([]), np.nan, scope_of(count), count, least, problem=problem)
    with np.errstate(invalid="ignore"):
        mean = np.mean(values, axis=0)
    return Units(mean, float(np.mean(references)), scope_of(count), count, least, few)


def pair_values(found: Lookup, ways: Sequence[dict], replicate: int, metric: str, display: str) -> pd.Series:
    """A measure by pair of latents, the mean over all else; NaN where a part of it is no number."""
    part = ways_of(found.tables.interpolation, ways, replicate, display)
    return part.groupby("pair")[metric].agg(lambda values: values.mean(skipna=False))


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


def decided(values: np.ndarray) -> tuple[Decision | None, str]:
    """`statistics.decide`, where cells may have diverged, with a note; None where nothing can be said.

    Units that are all infinite to one side are a point there. Some that are have the last word against a claim or for
    it only where the others decide likewise.
    """
    lost, finite = values[np.isinf(values)], values[np.isfinite(values)]
    if np.isnan(values).any() or len(set(lost)) > 1:
        return None, "both sides diverged"
    if not len(lost):
        return (decide(values), "") if len(values) > 1 else (None, "a single value has no interval")
    at, wanted = float(lost[0]), REFUTED if lost[0] > 0 else SUPPORTED
    if not len(finite):
        return Decision(at, at, at, at, at, float(at > 0), np.inf, wanted), ""
    others = decide(finite) if len(finite) > 1 else None
    note = f"a side diverged in {len(lost)} of {len(values)}"
    if others is None or others.verdict != wanted:
        bounds = (-np.inf, np.inf) * 2
        return Decision(at, *bounds, 1.0 if others is None else max(others.p, 0.5), np.inf, INCONCLUSIVE), note
    return others._replace(estimate=at), note


def judge_strata(
    found: Lookup, strata: Sequence[dict], metric: str, display: str, margin: float, trained_apart: bool = False
) -> Judged:
    """One decision, with what has to agree with it. trained_apart: the sides are of different trainings."""
    own = units(found, strata, metric, display, margin)
    if own.problem:
        return Judged(None, own, {}, INCONCLUSIVE, own.problem)
    decision, note = decided(own.differences)
    if decision is None:
        return Judged(None, own, {}, INCONCLUSIVE, note)
    agrees, missing = {}, []
    for name, other in CONFIRMED_BY.get(metric, {}).items():
        also = units(found, strata, other, display, margin, confirming=True)
        if also.problem:
            missing.append(other)
        else:
            with np.errstate(invalid="ignore"):
                agrees[name] = bool(np.sign(also.differences.mean()) == np.sign(decision.estimate))
    against = [CONFIRMED_BY[metric][name] for name, same in agrees.items() if not same]
    open_because = own.few
    if not open_because and trained_apart and 0 < own.replicates < REPLICATES:  # times have none
        open_because = f"its sides are trained differently, which {REPLICATES} replicates can decide"
    if not open_because and decision.verdict != INCONCLUSIVE:
        open_because = f"{' and '.join(missing)} cannot confirm it: not computed" if missing else (
            f"{' and '.join(against)} points the other way" if against else ""
        )  # fmt: skip
    verdict = INCONCLUSIVE if open_because else decision.verdict
    return Judged(decision, own, agrees, verdict, "; ".join(filter(None, (note, open_because))))


def paired(found: Lookup, strata: Sequence[dict], metric: str, display: str) -> dict[str, float]:
    """The difference of the sides without a margin, up where side a has more, with its two-sided 95 % interval.

    A margin multiplies the reference's own spread, so that the interval of the contrast is not that of the difference.
    """
    own = units(found, strata, metric, display, 0.0)
    decision = None if own.problem else decided(own.differences)[0]
    if decision is None:
        return {}
    ends = decision.estimate, decision.ci_low, decision.ci_high
    if not MEASURES[metric]:
        ends = -ends[0], -ends[2], -ends[1]
    return dict(zip(("difference", "difference_low", "difference_high"), ends, strict=True))


# ---------------------------------------------------------------- steps saved


def saving(found: Lookup, row: dict) -> tuple[dict, Judged]:
    """A row of speedups.csv, and the decision that the claim's verdict rests on.

    In a fixed sequence, which costs no multiplicity: down from the largest count while as good gives k_hi, up from the
    smallest while worse gives k_lo. The ratio of evaluations then lies between reference / k_hi and reference / k_lo,
    each bound one-sided 95 %.
    """
    strata, counted, reference = row["strata"], row["counted"], row["reference_nfe"]
    rule = row["metric"], row["display"], row["margin"], row["trained_apart"]
    judged = {s["at"][counted]: judge_strata(found, [s], *rule) for s in strata}
    counts = sorted(judged)
    good = {k for k in counts if judged[k].verdict == SUPPORTED}
    k_hi = k_lo = None
    for k in reversed(counts):
        if k not in good:
            break
        k_hi = k
    for k in counts:
        if judged[k].verdict != REFUTED:
            break
        k_lo = k
    top = judged[counts[-1]]
    basis = judged[k_hi] if k_hi else top
    if k_hi is not None:  # the sequence is as sure as its least sure step
        worst = max((k for k in counts if k >= k_hi), key=lambda k: judged[k].decision.p)
        note = f"p is that of the least sure step on the way, {counted} {worst}" if worst != k_hi else ""
        basis = basis._replace(
            decision=basis.decision._replace(p=judged[worst].decision.p),
            note="; ".join(filter(None, (basis.note, note))),
        )
    if top.verdict == REFUTED and good:
        note = f"{counted} {max(good)} is as good and {counts[-1]} is worse, so that the order says nothing"
        basis = basis._replace(verdict=INCONCLUSIVE, note=note)
    elif top.verdict == REFUTED:
        note = f"as far as was tried: a saving below {reference / counts[-1]:.3g} times is left open"
        basis = basis._replace(note="; ".join(filter(None, (basis.note, note))))
    trail = [{"count": k, "note": judged[k].note} | told(judged[k]) for k in counts]
    point, low, high, disorder = crossing(found, row, counts, good)
    basis = basis._replace(note="; ".join(filter(None, (basis.note, disorder))))
    result = {
        "claim": row["claim"],
        "model": row["model"],
        "arm": row["arm"],
        "against": row["reference_arm"],
        "axis": counted,
        "reference": reference,
        "k_hi": k_hi,
        "k_lo": k_lo,
        "point": point,
        "point_low": low,
        "point_high": high,
        "nfe_ratio_low": reference / k_hi if k_hi else np.nan,
        "nfe_ratio_high": reference / k_lo if k_lo else np.nan,
        **time_ratio(found, row, k_hi),
        "verdict": basis.verdict,
        "trail": json.dumps(trail),
    }
    return result, basis


def told(judged: Judged) -> dict:
    """A verdict with its figures relative to the reference, as JSON takes them."""
    values = {}
    if judged.decision is not None:
        reference = judged.units.reference
        scale = reference if np.isfinite(reference) and reference > 0 else 1.0
        values = {name: getattr(judged.decision, name) / scale for name in ("estimate", "ci_low", "ci_high")}
    figures = {name: round(value, 4) if np.isfinite(value) else None for name, value in values.items()}
    return {"verdict": judged.verdict} | figures


def time_ratio(found: Lookup, row: dict, k_hi: int | None) -> dict:
    """How many times less time the side takes at k_hi than the reference, with its 95 % interval over rounds."""
    empty = dict.fromkeys(("seconds_ratio", "seconds_ratio_low", "seconds_ratio_high"), np.nan)
    if k_hi is None:
        return empty
    stratum = next(s for s in row["strata"] if s["at"][row["counted"]] == k_hi)
    timed = time_units(found, [stratum], 0)
    if timed.problem or timed.few:
        return empty
    decision = decide(timed.differences)
    names = ("estimate", "ci_high", "ci_low")  # of log(a / b): turned over, the high end is the low one
    return dict(zip(empty, (float(np.exp(-getattr(decision, name))) for name in names), strict=True))


def crossing(found: Lookup, row: dict, counts: list[int], good: set[int]) -> tuple[str, str, str, str]:
    """The point estimate of the ratio of evaluations, with its jackknifed 95 % interval over replicates, as text.

    Isotonic regression of the distance over log counts, and where it crosses (1 + margin) times the reference's. Beyond
    the counts that were tried it is censored: "<2" or ">10". Last, why there is none: the distance rises in the
    replicates, after Holm's correction for all neighbours, to a count that is not among the good ones.
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
        return "", "", "", ""
    if a.shape[1] >= REPLICATES and len(counts) > 1:
        rises = holm([decide(-rise).p if rise.any() else 1.0 for rise in np.diff(a, axis=0)])
        for p, fewer, more in zip(rises, counts, counts[1:], strict=False):
            if p <= 1 - LEVEL and more not in good:
                why = f"{row['counted']} {more} is worse than {fewer}, so that no crossing is estimated"
                return "", "", "", why
    reference, margin = row["reference_nfe"], row["margin"] * (1 if MEASURES[row["metric"]] else -1)

    def log_count(kept: np.ndarray) -> float:
        return first_crossing(np.log(counts), a[:, kept].mean(1), (1 + margin) * b[kept].mean())

    every = np.arange(a.shape[1])
    whole = log_count(every)
    point = ratio_text(reference, whole, counts)
    if len(every) < REPLICATES or not np.isfinite(whole):
        return point, "", "", ""
    without = np.array([log_count(every[every != r]) for r in every])
    if not np.isfinite(without).all():
        return point, "", "", ""
    pseudo = len(every) * whole - (len(every) - 1) * without
    half = stats.t.ppf((1 + LEVEL) / 2, len(every) - 1) * pseudo.std(ddof=1) / np.sqrt(len(every))
    low, high = (ratio_text(reference, pseudo.mean() + side * half, counts) for side in (1, -1))
    return point, low, high, ""


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
    reference_nfe, arm, reference_arm, against, not_asked and strata, each with at, a and b (replicate -> paths).
    changed: claim -> what is to be said of a claim that is not as it was when its first sample was drawn.
    """
    found, savings, judged = Lookup(tables), [], []
    for row in rows:
        shared = {name: row[name] for name in ("claim", "statement", "contrast", "against", "model")}
        shared |= {name: row[name] for name in ("metric", "display", "margin", "exploratory")}
        if row["not_asked"]:
            judged.append(shared | {"verdict": NOT_ASKED, "note": row["not_asked"]})
            continue
        rule = row["metric"], row["display"], row["margin"], row["trained_apart"]
        if row["kind"] == "saves-steps":
            saved, basis = saving(found, row)
            savings.append(saved)
            at = saved["k_hi"] or max(s["at"][row["counted"]] for s in row["strata"])
            parts = [s for s in row["strata"] if s["at"][row["counted"]] == at]
        else:
            parts, basis = row["strata"], judge_strata(found, row["strata"], *rule)
        by_part = [basis] if len(parts) == 1 else [judge_strata(found, [stratum], *rule) for stratum in parts]
        of_units = {"scope": basis.units.scope, "replicates": basis.units.replicates, "n": basis.units.n}
        of_test = {} if basis.decision is None else basis.decision._asdict()
        of_test.pop("verdict", None)
        agreement = {f"agrees_{name}": same for name, same in basis.agrees.items()}
        note = "; ".join(filter(None, (basis.note, changed.get(row["claim"], ""))))
        judged.append(
            shared
            | of_units
            | of_test
            | agreement
            | paired(found, parts, row["metric"], row["display"])
            | {"reference": basis.units.reference, "verdict": basis.verdict, "note": note}
            | {"parts": json.dumps([{"at": s["at"]} | told(each) for s, each in zip(parts, by_part, strict=True)])}
        )
    family = [each for each in judged if each["verdict"] != NOT_ASKED and not each["exploratory"]]
    supports = holm([each.get("p", 1.0) for each in family])  # what could not be estimated is a claim all the same
    refutes = holm([1 - each.get("p", 0.0) for each in family])
    for each, p, p_refutes in zip(family, supports, refutes, strict=True):
        if "p" in each:
            each["p_holm"] = float(p_refutes if each["verdict"] == REFUTED else p)
            each["after_holm"] = None if each["verdict"] == INCONCLUSIVE else each["p_holm"] <= 1 - LEVEL
    for each in judged:
        if each["verdict"] == REFUTED and "p" in each:
            each["p"] = 1 - each["p"]  # a verdict's p is that of the side it takes
    for each in judged:
        if each.get("after_holm") is False:
            each["note"] = "; ".join(filter(None, (each["note"], ALONE)))
    return judged, savings


# ---------------------------------------------------------------- arm by arm

BETTER, WORSE, TIE, OPEN = "better", "worse", "tie", "undecided"


def differences(pairs: Sequence[dict], tables: Tables) -> list[dict]:
    """The rows of differences.csv: each arm's paired difference to another start, and a word for it.

    A tie is a difference whose 95 % interval has zero in it: these replicates cannot tell the two apart, which does not
    make them equal. What is no verdict for another reason is undecided, and the note says why.

    pairs: mappings with axes (of the arm), against, display, metric, a and b (replicate -> paths).
    """
    found, rows = Lookup(tables), []
    for pair in pairs:
        judged = judge_strata(found, [{"a": pair["a"], "b": pair["b"], "at": {}}], pair["metric"], pair["display"], 0.0)
        rows.append(
            pair["axes"]
            | {
                "display": pair["display"],
                "against": pair["against"],
                "against_steps": pair["against_steps"],
                "replicates": judged.units.replicates,
                "n": judged.units.n,
                "reference": judged.units.reference,
                "word": word(judged),
                "note": judged.note,
            }
            | {
                name: np.nan if judged.decision is None else getattr(judged.decision, name)
                for name in ("estimate", "ci_low", "ci_high")
            }
        )
    return rows


def word(judged: Judged) -> str:
    decision = judged.decision
    if decision is None:
        return ""
    if judged.verdict == INCONCLUSIVE and decision.verdict != INCONCLUSIVE or judged.units.few:
        return OPEN
    if not np.isfinite(decision.estimate):
        return {SUPPORTED: BETTER, REFUTED: WORSE}.get(judged.verdict, OPEN)
    return BETTER if decision.ci_high < 0 else WORSE if decision.ci_low > 0 else TIE
