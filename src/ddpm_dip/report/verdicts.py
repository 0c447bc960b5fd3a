"""What the tables say about study A's claims A1..A9: pure functions of the tables, one rule (RULE) for B's, too.

A claim is a list of cases (a model and display, or a method and batch), a case a list of comparisons, each
for the claim (+1), against it (-1) or below the noise (0).
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from . import labels, tables
from .labels import DISPLAY_NAMES, arm_label, compact

AGREES, DISAGREES, NOT_DECIDED = "agrees", "disagrees", "not decided"
RULE = (
    "Two distances differ only if they are further apart than the larger of the real-against-real floor and "
    "a tenth of the smaller distance; two times differ only if their quartile ranges do not overlap; "
    "two means or spreads differ only beyond twice the standard error of their difference (a mean of fewer than "
    "8 pairs decides nothing). A case "
    "(one model under one display, or one method at one batch size) agrees or disagrees with a claim if at "
    "least half of its comparisons are decided in this sense and all decided ones point the same way; "
    "otherwise it is not decided. The verdict on a claim is drawn from its cases in the same way."
)
NOISE_SHARE = 0.1  # of the smaller distance: one seed, so a cell's own scatter is not measured
CHEAP_SHARE = 0.05  # "next to nothing": below this share of the DDPM's own time
FEW_PASSES = 3
VERBS = {1: "closer", -1: "farther", 0: "below the noise"}

STATEMENTS = {
    "A1": "Time grows with K.",
    "A2": "Two DIP passes cost next to nothing (below 5\u00a0% of the chain's time).",
    "A3": "At K = 200, noise vanishes sooner with DIP.",
    "A4": "At the same K, DIP + DDPM has the better quality than DDPM from noise.",
    "A4 control": "Ours: at the same K, DIP + DDPM is better than the free mean-image start.",
    "A5": "DIP + DDPM reaches a given quality in less time.",
    "A6": "1 to 3 DIP passes are better than more.",
    "A7": "The largest epoch budget is best.",
    "A8": "DIP inside training fails: noise is left at the end.",
    "A9": "Samples are less diverse with DIP.",
    "A9 time": "One image takes longer than DIP alone.",
}


class Case(NamedTuple):
    """One place where a claim was tried: its verdict, and the figures it rests on."""

    where: str
    signs: list[int]  # of its comparisons: +1 for the claim, -1 against, 0 below the noise
    evidence: list[str]

    @property
    def verdict(self) -> str:
        return settle(self.signs)


class Verdict(NamedTuple):
    claim: str
    statement: str
    verdict: str
    reason: str
    cases: list[Case]


def verdicts(
    cells: pd.DataFrame,
    timing: pd.DataFrame | None = None,
    networks: dict[str, str] | None = None,
    trained_with_dip: Collection[str] = (),
) -> list[Verdict]:
    """Every claim's verdict, in order.

    cells: as `usual` returns it; timing: the timing table, or None where nothing was timed.
    networks: model name to network name, so that A8 compares like with like (where unknown: all).
    trained_with_dip: names of the models with DIP inside their training; only A8 looks at them.
    """
    timing = pd.DataFrame(columns=["method"]) if timing is None else timing
    cells = cells[cells["arm"] != "gan"].dropna(subset=["fd_classifier"])
    inside = set(cells.loc[cells["model"].isin(trained_with_dip), "variant"])
    plain = cells[~cells["variant"].isin(inside)]
    cases = {
        "A1": time_grows(timing),
        "A2": passes_are_cheap(timing),
        "A3": [],
        "A4": better_than(plain, "noise"),
        "A4 control": better_than(plain, "mean-image"),
        "A5": quality_in_less_time(plain, timing),
        "A6": few_passes_best(plain),
        "A7": largest_budget_best(plain),
        "A8": dip_inside_fails(cells, inside, networks or {}),
        "A9": [],
        "A9 time": longer_than_dip_alone(timing),
    }
    unmeasured = {
        "A3": "no measure of noise along the chain is in the tables; see the animations at K = 200",
        "A9": "no measure of diversity is in the tables; see the strips",
    }
    return [tried(claim, STATEMENTS[claim], found, unmeasured.get(claim)) for claim, found in cases.items()]


def usual(cells: pd.DataFrame, config: dict) -> pd.DataFrame:
    """The cells that the claims are about: ancestral chains of every timestep, the study's own weights and clipping.

    cells: as `tables.with_floors` returns it. Metrics and floors are means over the replicates. Returns a row a model,
    budget, arm, K and display, with the columns variant, arm, passes (0 where there are none), steps (0 where there is
    no chain) and model ("" where no model draws: DIP alone).
    """
    weights = (config.get("training") or {}).get("weights")
    clip_x0 = bool((config.get("sampling") or {}).get("clip_x0"))
    groups: dict[tuple, list[dict]] = {}
    for row in tables.rows_of(cells):
        chain = (
            row["sampler"] in (None, "ancestral") and row["nfe"] == row["steps"] and row["clip_x0"] in (None, clip_x0)
        )
        if chain and (weights is None or row["weights"] in (None, weights)):
            at = labels.key(("model", "epochs", "weights", "start", "passes", "steps"), row)
            groups.setdefault((*at, row["display"]), []).append(row)
    numbers = [*tables.METRICS, *(f"{metric}_floor" for metric in tables.DISTANCES)]
    columns = ["model", "variant", "epochs", "arm", "passes", "steps", "display", "n", *numbers]
    found = []
    for (model, epochs, own, _, passes, steps, display), same in groups.items():
        arm = labels.arm_of(same[0])
        model = "" if arm == labels.ALONE else model
        name = labels.variant(model, own) if model else ""
        values = [pd.Series([row[column] for row in same], dtype=float).mean() for column in numbers]
        found.append([model, name, epochs, arm, passes or 0, steps or 0, display, same[0]["n"], *values])
    return pd.DataFrame(found, columns=columns).astype(dict.fromkeys(["epochs", "passes", "steps", "n"], "Int64"))


def largest_budget(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of each variant's largest epoch budget; rows without a model (DIP alone) stay."""
    largest = cells.groupby("variant")["epochs"].transform("max")
    return cells[cells["epochs"].isna() | (cells["epochs"] == largest)]


def tried(claim: str, statement: str, cases: list[Case], unmeasured: str | None = None) -> Verdict:
    """The verdict on a claim, drawn from its cases; unmeasured: why it has none."""
    if unmeasured:
        reason = unmeasured
    elif not cases:
        reason = "the cells or times that it needs were not run"
    else:
        reason = f"{len(cases)} case{'s' * (len(cases) > 1)}; " + tally([s for case in cases for s in case.signs])
    return Verdict(claim, statement, settle([_sign(case.verdict) for case in cases]), reason, cases)


def settle(signs: list[int]) -> str:
    """Many comparisons (+1 for the claim, -1 against, 0 below the noise) to one verdict."""
    decided = [sign for sign in signs if sign]
    if not decided or 2 * len(decided) < len(signs) or len(set(decided)) > 1:
        return NOT_DECIDED
    return AGREES if decided[0] > 0 else DISAGREES


def tally(signs: list[int]) -> str:
    """The comparisons counted in words."""
    words = (("for", 1), ("against", -1), ("below the noise", 0))
    counts = ", ".join(f"{signs.count(sign)} {word}" for word, sign in words if sign in signs)
    return f"{len(signs)} comparison{'s' * (len(signs) != 1)}: {counts}" + (
        ", pointing both ways" if {1, -1} <= set(signs) else ""
    )


def closer(a: float, b: float, floor: float) -> int:
    """+1 where distance a is smaller than b beyond the noise, -1 where larger, else (or without floor) 0."""
    noise = noise_of(min(a, b), floor)
    return 0 if not abs(a - b) > noise else 1 if a < b else -1


def noise_of(distance: float, floor: float) -> float:
    """How far another distance must be from this one to differ; infinite where there is no floor."""
    return np.inf if pd.isna(floor) else max(floor, NOISE_SHARE * distance)


def shorter(a: tuple[float, float, float], b: tuple[float, float, float]) -> int:
    """+1 where time a (q1, median, q3) is shorter than b with quartiles apart, -1 where longer, else 0."""
    return 1 if a[2] < b[0] else -1 if b[2] < a[0] else 0


def time_grows(timing: pd.DataFrame) -> list[Case]:
    """A1: each K against the next larger one, per method and batch."""
    found = []
    for (batch, method), times in _times(timing):
        if method == "dip" or len(times) < 2:
            continue
        names = {"ddpm": "DDPM", "dip+ddpm": "DIP + DDPM"}
        ks = sorted(times)
        signs = [shorter(times[a], times[b]) for a, b in zip(ks, ks[1:], strict=False)]
        first, last = times[ks[0]][1], times[ks[-1]][1]
        evidence = [
            f"{first:.3g} s at K = {ks[0]}, {last:.3g} s at K = {ks[-1]} "
            f"({last / first:.1f} times the time for {ks[-1] / ks[0]:.1f} times the steps)",
            f"{signs.count(1)} of {len(signs)} neighbouring K apart and growing, {signs.count(-1)} falling",
        ]
        found.append(Case(f"{names.get(method, method)}, batch {batch}", signs, evidence))
    return found


def passes_are_cheap(timing: pd.DataFrame) -> list[Case]:
    """A2: the passes' own time (where not measured: DIP + DDPM less DDPM) as a share of DDPM's, at each K."""
    measured = dict(_times(timing))
    found = []
    for batch in sorted({batch for batch, _ in measured}):
        plain, dip = measured.get((batch, "ddpm"), {}), measured.get((batch, "dip+ddpm"), {})
        alone = next(iter(measured.get((batch, "dip"), {}).values()), None)
        signs, shares, slower = [], {}, 0
        for k in sorted(set(plain) & set(dip)):
            low, middle, high = plain[k]
            slower += dip[k][1] > middle
            if alone:
                extra = (alone[0] / high, alone[1] / middle, alone[2] / low)
            else:
                extra = (
                    (dip[k][0] - high) / middle,
                    (dip[k][1] - middle) / middle,
                    (dip[k][2] - low) / middle,
                )
            signs.append(1 if extra[2] < CHEAP_SHARE else -1 if extra[0] > CHEAP_SHARE else 0)
            shares[k] = extra[1]
        if signs:
            how = "the passes timed alone" if alone else "the difference of the two arms"
            few = {k: shares[k] for k in (min(shares), max(shares))}
            parts = ", ".join(f"{100 * share:.2g} % at K = {k}" for k, share in few.items())
            evidence = [f"{parts} ({how})", f"DIP + DDPM has the larger median at {slower} of {len(signs)} K"]
            found.append(Case(f"batch {batch}", signs, evidence))
    return found


def better_than(cells: pd.DataFrame, rival: str) -> list[Case]:
    """A4 and its control: DIP + DDPM against another start at the same K, largest budget."""
    found = []
    for where, part in _groups(largest_budget(cells)):
        passes = usual_passes(part)
        other, dip = _by_k(part, rival, 0), _by_k(part, "dip", passes)
        signs, evidence = [], []
        for k in sorted(set(other) & set(dip)):
            signs.append(closer(dip[k][0], other[k][0], dip[k][1]))
            evidence.append(f"K = {k}: {compact(dip[k][0])} against {compact(other[k][0])} ({VERBS[signs[-1]]})")
        if signs:
            found.append(Case(f"{where}, {arm_label('dip', passes)}", signs, evidence))
    return found


def quality_in_less_time(cells: pd.DataFrame, timing: pd.DataFrame) -> list[Case]:
    """A5: for every distance that an arm shows, the time each arm needs to come as close within the noise.

    Times are those of the smallest batch, interpolated in K. Where both arms need the same K, DIP saves
    nothing, as its passes come on top; where both do with the smallest K tried, that says nothing.
    """
    measured = dict(_times(timing))
    if not measured:
        return []
    batch = min(batch for batch, _ in measured)
    found = []
    for where, part in _groups(largest_budget(cells)):
        arms = {"ddpm": _by_k(part, "noise", 0), "dip+ddpm": _by_k(part, "dip", usual_passes(part))}
        common = set(arms["ddpm"]) & set(arms["dip+ddpm"])
        arms = {
            method: {k: (*fd, _time_at(measured.get((batch, method), {}), k)) for k, fd in by_k.items() if k in common}
            for method, by_k in arms.items()
        }
        arms = {m: {k: row for k, row in by_k.items() if row[2] is not None} for m, by_k in arms.items()}
        if not arms["ddpm"] or not arms["dip+ddpm"]:
            continue
        signs: dict[tuple, int] = {}
        evidence = {}
        for target, floor, _ in [row for by_k in arms.values() for row in by_k.values()]:
            need = {m: _first_within(by_k, target + noise_of(target, floor)) for m, by_k in arms.items()}
            plain, dip = need["ddpm"], need["dip+ddpm"]
            pair = (plain, dip)
            if plain == dip:
                signs[pair] = 0 if dip == min(common) else -1
            elif plain is None or dip is None:
                signs[pair] = 1 if plain is None else -1
            else:
                signs[pair] = shorter(arms["dip+ddpm"][dip][2], arms["ddpm"][plain][2])
            told = [
                f"{name} {f'K = {k}, {arms[method][k][2][1]:.3g} s' if k else 'never'}"
                for name, method, k in (("DDPM", "ddpm", plain), ("DIP + DDPM", "dip+ddpm", dip))
            ]
            evidence.setdefault(pair, f"to come within {compact(target)}: {'; '.join(told)}")
        found.append(Case(where, list(signs.values()), list(evidence.values())))
    return found


def few_passes_best(cells: pd.DataFrame) -> list[Case]:
    """A6: at each K, the best of 1 to 3 passes against the best of more; 0 passes (noise) told beside it."""
    found = []
    for where, part in _groups(largest_budget(cells)):
        signs, evidence = [], []
        for k, rows in part[part["arm"] == "dip"].groupby("steps"):
            few, many = rows[rows["passes"] <= FEW_PASSES], rows[rows["passes"] > FEW_PASSES]
            if few.empty or many.empty:
                continue
            a = few.loc[few["fd_classifier"].idxmin()]
            b = many.loc[many["fd_classifier"].idxmin()]
            signs.append(closer(a["fd_classifier"], b["fd_classifier"], a["fd_classifier_floor"]))
            noise = _by_k(part, "noise", 0).get(k)
            evidence.append(
                f"K = {k}: best few {compact(a['fd_classifier'])} ({a['passes']}), "
                f"best many {compact(b['fd_classifier'])} ({b['passes']})"
                + (f", noise {compact(noise[0])}" if noise else "")
            )
        if signs:
            found.append(Case(where, signs, evidence))
    return found


def largest_budget_best(cells: pd.DataFrame) -> list[Case]:
    """A7: the largest epoch budget against each smaller one, start, passes and K being equal."""
    found = []
    for where, part in _groups(cells.dropna(subset=["epochs"])):
        signs, evidence = [], []
        for (key, passes, k), rows in part.groupby(["arm", "passes", "steps"]):
            rows = rows.sort_values("epochs")
            values = rows["fd_classifier"].tolist()
            if len(values) < 2:
                continue
            floor = rows["fd_classifier_floor"].iloc[-1]
            signs += [closer(values[-1], value, floor) for value in values[:-1]]
            told = ", ".join(f"{compact(v)} ({e})" for e, v in zip(rows["epochs"], values, strict=True))
            evidence.append(f"{arm_label(key, passes)}, K = {k}, distance (epochs): {told}")
        if signs:
            found.append(Case(where, signs, evidence))
    return found


def dip_inside_fails(cells: pd.DataFrame, inside: set[str], networks: dict[str, str]) -> list[Case]:
    """A8: a model trained with DIP inside, each way of sampling, against the same network trained plainly.

    The plain models' budget is the same where it was run, else the nearest.
    """
    plain = cells[~cells["variant"].isin(inside) & (cells["arm"] == "noise")]
    found = []
    for where, part in _groups(cells[cells["variant"].isin(inside)]):
        display, own = part["display"].iloc[0], networks.get(part["model"].iloc[0])
        signs, evidence = [], []
        for row in part[part["arm"] != "noise"].itertuples():
            rivals = plain[(plain["display"] == display) & (plain["steps"] == row.steps)]
            alike = rivals[rivals["model"].map(networks) == own]
            rivals = rivals if alike.empty else alike
            for name, same in rivals.groupby("variant"):
                near = same.loc[(same["epochs"] - row.epochs).abs().sort_values(kind="stable").index[0]]
                signs.append(-closer(row.fd_classifier, near["fd_classifier"], row.fd_classifier_floor))
                evidence.append(
                    f"{arm_label(row.arm, row.passes)}, K = {row.steps}: "
                    f"{compact(row.fd_classifier)} ({row.epochs} epochs)"
                    f" against {name} from noise {compact(near['fd_classifier'])} ({near['epochs']} epochs)"
                )
        if signs:
            found.append(Case(where, signs, evidence))
    return found


def longer_than_dip_alone(timing: pd.DataFrame) -> list[Case]:
    """A9's second half: DIP + DDPM at each K against the DIP passes alone."""
    measured = dict(_times(timing))
    found = []
    for batch in sorted({batch for batch, _ in measured}):
        chain = measured.get((batch, "dip+ddpm"), {})
        alone = next(iter(measured.get((batch, "dip"), {}).values()), None)
        if alone and chain:
            signs = [shorter(alone, time) for time in chain.values()]
            k = min(chain)
            evidence = [f"DIP alone {alone[1]:.3g} s, DIP + DDPM {chain[k][1]:.3g} s at K = {k}"]
            found.append(Case(f"batch {batch}", signs, evidence))
    return found


def usual_passes(cells: pd.DataFrame) -> int:
    """The passes that stand for the DIP arm: 2, as in the study, or the fewest there are."""
    counts = set(cells.loc[cells["arm"] == "dip", "passes"])
    return 2 if 2 in counts or not counts else int(min(counts))


def _groups(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The cells of each model and display. DIP alone belongs to none."""
    for name, own in cells[cells["model"] != ""].groupby("variant"):
        for display in DISPLAY_NAMES:
            part = own[own["display"] == display]
            if len(part):
                yield f"{name}, {display}", part


def _by_k(cells: pd.DataFrame, arm: str, passes: int) -> dict[int, tuple[float, float]]:
    """K to (distance, floor), for one arm."""
    rows = cells[(cells["arm"] == arm) & (cells["passes"] == passes)]
    return {int(r.steps): (r.fd_classifier, r.fd_classifier_floor) for r in rows.itertuples()}


def _times(timing: pd.DataFrame) -> Iterator[tuple[tuple[int, str], dict[int, tuple[float, float, float]]]]:
    """(batch, method) with K to (q1, median, q3) in seconds per image."""
    if timing.empty:
        return
    for (batch, method), rows in timing.groupby(["batch", "method"]):
        counts = set(rows["passes"])
        rows = rows[rows["passes"] == (2 if 2 in counts else min(counts))]
        yield (int(batch), method), {int(r.steps): (r.q1_s, r.median_s, r.q3_s) for r in rows.itertuples()}


def _time_at(times: dict[int, tuple[float, float, float]], k: int) -> tuple[float, float, float] | None:
    """(q1, median, q3) at K, linear between the K timed; None outside them."""
    ks = sorted(times)
    if not ks or not ks[0] <= k <= ks[-1]:
        return None
    return tuple(float(np.interp(k, ks, [times[at][i] for at in ks])) for i in range(3))


def _first_within(by_k: dict[int, tuple], limit: float) -> int | None:
    """The smallest K whose distance is within the limit."""
    return min((k for k, row in by_k.items() if row[0] <= limit), default=None)


def _sign(verdict: str) -> int:
    return {AGREES: 1, DISAGREES: -1, NOT_DECIDED: 0}[verdict]
