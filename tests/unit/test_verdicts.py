"""Verdicts from tables with a known truth: error rates by simulation, and each rule by a case that only it decides."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ddpm_dip.evaluation import verdicts
from ddpm_dip.evaluation.verdicts import INCONCLUSIVE, REFUTED, SUPPORTED

BLOCKS = 8


def tables(values, n=256, block_sd=0.5, seed=0, **more):
    """Tables of cells: path -> their distance, the same in all feature nets, or a mapping of metrics."""
    rng, cells, pseudo = np.random.default_rng(seed), [], []
    for path, value in values.items():
        value = value if isinstance(value, dict) else {"fd_classifier": value}
        distance = value.get("fd_classifier", np.nan)
        row = {"path": path, "display": "clamp", "n": n, "diverged": 0.0, "energy_classifier": distance / 100}
        row |= {"fd_classifier": distance, "fd_classifier_2": 1.1 * distance, "coverage": np.nan} | value
        cells.append(row)
        for metric in ("fd_classifier", "energy_classifier", "fd_classifier_2", "coverage"):
            noise = rng.normal(0, block_sd, BLOCKS) * (0.01 if metric == "energy_classifier" else 1)
            noise -= noise.mean()
            pseudo += [
                {"path": path, "display": "clamp", "metric": metric, "block": g, "value": row[metric] + noise[g]}
                for g in range(BLOCKS)
            ]
    empty = pd.DataFrame(columns=["path", "noise_mad"])
    given = {"noise": empty, "seconds": {}} | more
    return verdicts.Tables(pd.DataFrame(cells), pd.DataFrame(pseudo), **given)


def stratum(a, b, replicates, **at):
    """Cells a and b are called a-r0, a-r1, ..."""
    of = [{str(r): [f"{side}-r{r}"] for r in range(replicates)} for side in (a, b)]
    return {"at": at, "a": of[0], "b": of[1]}


def row(kind="better", strata=(), **more):
    base = {"claim": "X", "statement": "s", "contrast": "c", "kind": kind, "model": "m", "metric": "fd_classifier"}
    base |= {
        "trained_apart": False,
        "display": "clamp",
        "margin": 0.0,
        "exploratory": False,
        "counted": None,
        "reference_nfe": 0,
    }
    return (
        base
        | {"arm": "arm", "reference_arm": "other", "against": "other", "not_asked": "", "strata": list(strata)}
        | more
    )


def judged(asked, given, changed=None):
    claims, speedups = verdicts.judge([asked], given, changed or {})
    return claims[0] | {"speedup": speedups[0] if speedups else None}


def nets(**sides):
    """values of cells from side -> list over replicates."""
    return {f"{side}-r{r}": value for side, values in sides.items() for r, value in enumerate(values)}


def test_the_interval_of_three_nets_is_students_by_hand():
    found = judged(row(strata=[stratum("a", "b", 3)]), tables(nets(a=[8.0, 7.0, 9.0], b=[11.0, 10.0, 12.5])))
    d = np.array([8.0, 7.0, 9.0]) - [11.0, 10.0, 12.5]
    low, high = stats.t.interval(0.95, 2, d.mean(), d.std(ddof=1) / 3**0.5)
    assert (found["estimate"], found["ci_low"], found["ci_high"]) == pytest.approx((d.mean(), low, high))
    assert found["verdict"] == SUPPORTED and found["replicates"] == 3 and found["scope"] == "this way of training"
    assert found["reference"] == pytest.approx(np.mean([11.0, 10.0, 12.5]))
    turned = judged(row(strata=[stratum("b", "a", 3)]), tables(nets(a=[8.0, 7.0, 9.0], b=[11.0, 10.0, 12.5])))
    assert turned["verdict"] == REFUTED and turned["estimate"] == pytest.approx(-d.mean())


def test_the_interval_that_is_told_is_of_the_difference_whatever_the_margin():
    """As `differences` has it for the same two cells; the contrast's is another, as the margin scales b's spread."""
    values = nets(a=[14.0, 22.0, 9.0], b=[11.0, 16.0, 8.5])
    pair = stratum("a", "b", 3) | {"axes": {}, "against": "noise", "against_steps": 1000}
    pair |= {"display": "clamp", "metric": "fd_classifier"}
    (arm,) = verdicts.differences([pair], plain(values))
    for margin in (0.0, 0.5):
        found = judged(row("as-good-as", [stratum("a", "b", 3)], margin=margin), plain(values))
        told = [found[name] for name in ("difference", "difference_low", "difference_high")]
        assert told == pytest.approx([arm[name] for name in ("estimate", "ci_low", "ci_high")])
        contrast = np.array([14.0, 22.0, 9.0]) - (1 + margin) * np.array([11.0, 16.0, 8.5])
        assert found["ci_low"] == pytest.approx(stats.t.interval(0.95, 2, contrast.mean(), stats.sem(contrast))[0])
    shares = nets(a=[{"coverage": x} for x in (0.6, 0.65, 0.7)], b=[{"coverage": x} for x in (0.5, 0.5, 0.4)])
    found = judged(row("as-good-as", [stratum("a", "b", 3)], metric="coverage", margin=0.2), tables(shares))
    low, high = stats.t.interval(0.95, 2, 0.55 / 3, stats.sem([0.1, 0.15, 0.3]))
    told = [found[name] for name in ("difference", "difference_low", "difference_high")]
    assert told == pytest.approx([0.55 / 3, low, high])  # up where side a has more


def test_the_effect_that_would_be_found_is_found_as_often_as_said():
    rng, power = np.random.default_rng(8), []
    for count in (3, 5):
        decided = [verdicts.decide(rng.normal(0, 1, count)) for _ in range(2000)]
        known = (stats.t.ppf(0.95, count - 1) + stats.t.ppf(0.8, count - 1)) / count**0.5  # of sd 1
        assert all(each.mde > 0 for each in decided)
        assert np.sqrt(np.mean([each.mde**2 for each in decided])) == pytest.approx(known, rel=0.05)
        found = [verdicts.decide(rng.normal(-known, 1, count)).verdict == SUPPORTED for _ in range(2000)]
        power.append(np.mean(found))
    assert power == pytest.approx([0.8, 0.8], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind, margin, truth", [("better", 0.0, 1.0), ("as-good-as", 0.5, 1.5)])
def test_a_claim_at_the_border_of_truth_is_decided_wrongly_as_often_as_said(kind, margin, truth):
    """The true distance of a is exactly (1 + margin) times b's, so that either verdict is false."""
    rng, wrong = np.random.default_rng(4), {SUPPORTED: 0, REFUTED: 0, INCONCLUSIVE: 0}
    asked = row(kind, [stratum("a", "b", 3)], margin=margin)
    for _ in range(2000):
        b = 10 + rng.normal(0, 1, 3)
        a = truth * 10 + (1 + margin) * (b - 10) + rng.normal(0, 1.7, 3)
        found = verdicts.units(
            verdicts.Lookup(plain(nets(a=a, b=b))), asked["strata"], "fd_classifier", "clamp", margin
        )
        wrong[verdicts.decided(found.differences)[0].verdict] += 1
    assert wrong[SUPPORTED] / 2000 <= 0.07 and wrong[REFUTED] / 2000 <= 0.07


def plain(values, rng=None, sd=0.0):
    """Tables without pseudo-values, which three nets do not need: quick to make.

    With rng, the other distances have an error of their own, of so much of their value.
    """

    def near(value):
        return value if rng is None else value * rng.normal(1, sd)

    cells = [
        {"path": path, "display": "clamp", "n": 256, "diverged": 0.0, "fd_classifier": value,
         "energy_classifier": near(value / 100), "fd_classifier_2": near(value)}
        for path, value in values.items()
    ]  # fmt: skip
    pseudo = pd.DataFrame(columns=["path", "display", "metric", "block", "value"])
    return verdicts.Tables(pd.DataFrame(cells), pseudo, pd.DataFrame(columns=["path", "noise_mad"]), {})


def saving(counts, truth, rng, replicates=3, sd=0.08, reference=10.0, margin=0.5):
    """A claim of saved steps and tables: distances truth(K) times a net's own factor, the reference's at 1000."""
    factor = rng.normal(1, 0.1, replicates)
    values = nets(b=reference * factor * rng.normal(1, sd, replicates))
    for k in counts:
        values |= nets(**{f"a{k}": reference * truth(k) * factor * rng.normal(1, sd, replicates)})
    strata = [stratum(f"a{k}", "b", replicates, steps=k) for k in counts]
    return row("saves-steps", strata, margin=margin, counted="steps", reference_nfe=1000), values


def true_curve(k):
    return 1 + 4 * np.exp(-k / 90)  # falls to 1.5 at K = 187


@pytest.mark.slow
def test_the_bounds_of_a_speed_up_hold_the_truth():
    rng, counts, truth = np.random.default_rng(0), [50, 100, 150, 200, 300, 500], 1000 / (-90 * np.log(0.5 / 4))
    held, of_point, told = 0, 0, 0
    for _ in range(2000):
        asked, values = saving(counts, true_curve, rng)
        found = judged(asked, plain(values))["speedup"]
        held += not found["nfe_ratio_low"] > truth and not truth > found["nfe_ratio_high"]
        low, high = (str(found[end]) for end in ("point_low", "point_high"))
        if low != "nan" and low:
            told += 1
            below = low.startswith("<") or float(low.lstrip(">")) <= truth  # <2 or >20: beyond the grid
            of_point += below and (high.startswith(">") or truth <= float(high.lstrip("<")))
    assert held / 2000 >= 0.90
    assert told >= 1900 and 0.90 <= of_point / told <= 0.99


@pytest.mark.slow
def test_a_step_more_or_less_flips_no_verdict():
    """Where the distance falls with K, the grid of K must not decide, so long as its largest is as good in truth."""
    rng, flips, runs = np.random.default_rng(1), 0, 0
    for _ in range(100):
        asked, values = saving([50, 100, 150, 200, 300, 500, 700], true_curve, rng)
        given = plain(values, rng, 0.1)
        whole = judged(asked, given)
        for left in ([100], [300], [150, 200], [700], [500, 700]):  # 300 is as good, and 200 just so
            kept = [s for s in asked["strata"] if s["at"]["steps"] not in left]
            part = judged(asked | {"strata": kept}, given)
            flips += {whole["verdict"], part["verdict"]} == {SUPPORTED, REFUTED}
            runs += 1
            k_hi = whole["speedup"]["k_hi"]
            if k_hi is not None and k_hi not in left and part["speedup"]["k_hi"] is not None:
                assert part["speedup"]["k_hi"] <= k_hi, "leaving out a K cannot undo what a larger one showed"
    assert flips / runs <= 0.005


@pytest.mark.slow
def test_that_other_distances_have_to_agree_costs_power_and_no_errors():
    """They have errors of their own; the true distance of a is 20 % below b's, and then b's own."""
    rng, asked, found = np.random.default_rng(6), row(strata=[stratum("a", "b", 5)]), {0.8: [], 1.0: []}
    for truth, verdicts_of in found.items():
        for _ in range(2000):
            b = 10 + rng.normal(0, 1, 5)
            given = plain(nets(a=truth * b + rng.normal(0, 1, 5), b=b), rng, 0.1)
            verdicts_of.append(judged(asked, given)["verdict"])
    assert found[0.8].count(SUPPORTED) / 2000 >= 0.75 and found[0.8].count(REFUTED) == 0
    assert found[1.0].count(SUPPORTED) / 2000 <= 0.05 and found[1.0].count(REFUTED) / 2000 <= 0.05


def test_steps_saved_by_hand():
    counts, values = [100, 200, 500], nets(b=[10.0, 10.1, 9.9])
    values |= nets(a100=[40.0, 41.0, 39.0], a200=[14.0, 15.2, 15.9], a500=[10.0, 10.2, 9.7])
    strata = [stratum(f"a{k}", "b", 3, steps=k) for k in counts]
    asked = row("saves-steps", strata, margin=0.5, counted="steps", reference_nfe=1000)
    found = judged(asked, plain(values))
    saved = found["speedup"]
    assert (found["verdict"], saved["k_hi"], saved["k_lo"]) == (SUPPORTED, 500, 100)
    assert (saved["nfe_ratio_low"], saved["nfe_ratio_high"]) == (2.0, 10.0)
    assert [each["verdict"] for each in json.loads(saved["trail"])] == [REFUTED, INCONCLUSIVE, SUPPORTED]
    # the isotonic fit is the means; 15 is crossed between 40 and 15.033 at K 100 and 200, and 10 at 500
    log = np.log(200) + (15.0333 - 15) / (15.0333 - 9.9667) * np.log(500 / 200)
    assert float(saved["point"]) == pytest.approx(1000 / np.exp(log), rel=5e-3)
    worse = values | nets(a500=[20.0, 21.0, 19.5])
    none = judged(asked, plain(worse))
    assert none["verdict"] == REFUTED and none["speedup"]["k_hi"] is None
    assert np.isnan(none["speedup"]["nfe_ratio_low"])  # it may need even more steps than the reference
    assert [part["at"] for part in json.loads(found["parts"])] == [{"steps": 500}]  # what its numbers are of
    assert (
        none["note"] == "as far as was tried: a saving below 2 times is left open; steps 500 is worse than 200, "
        "so that no crossing is estimated"
    )
    assert none["speedup"]["point"] == "" and none["speedup"]["k_lo"] == 100
    falling = values | nets(a200=[30.0, 31.0, 29.5], a500=[20.0, 21.0, 19.5])
    none = judged(asked, plain(falling))
    assert (none["speedup"]["point"], none["speedup"]["k_lo"]) == ("<2", 500)
    best = values | nets(a100=[10.0, 10.1, 9.8], a200=[10.0, 10.1, 9.8])
    assert judged(asked, plain(best))["speedup"]["point"] == ">10"
    assert np.isnan(judged(asked, plain(best))["speedup"]["nfe_ratio_high"])


def test_the_walk_up_ends_at_the_last_count_that_is_worse():
    values = nets(b=[10.0, 10.1, 9.9], a100=[40.0, 41.0, 39.0], a200=[30.0, 31.0, 29.0], a300=[14.0, 15.2, 15.9])
    values |= nets(a500=[10.0, 10.2, 9.7])
    strata = [stratum(f"a{k}", "b", 3, steps=k) for k in (100, 200, 300, 500)]
    asked = row("saves-steps", strata, margin=0.5, counted="steps", reference_nfe=1000)
    saved = judged(asked, plain(values))["speedup"]
    assert (saved["k_hi"], saved["k_lo"], saved["nfe_ratio_high"]) == (500, 200, 5.0)


def test_the_crossing_has_the_interval_of_the_jackknife_over_nets():
    b, low, high = np.array([10.0, 10.5, 9.5]), np.array([20.0, 22.0, 19.0]), np.array([9.0, 9.5, 9.4])
    strata = [stratum(f"a{k}", "b", 3, steps=k) for k in (100, 400)]
    asked = row("saves-steps", strata, margin=0.5, counted="steps", reference_nfe=1000)
    saved = judged(asked, plain(nets(b=b, a100=low, a400=high)))["speedup"]

    def crossed(kept):
        x, y, target = np.log([100, 400]), (low[kept].mean(), high[kept].mean()), 1.5 * b[kept].mean()
        return x[0] + (y[0] - target) / (y[0] - y[1]) * (x[1] - x[0])

    every = np.arange(3)
    pseudo = np.array([3 * crossed(every) - 2 * crossed(every[every != r]) for r in every])
    ends = stats.t.interval(0.95, 2, pseudo.mean(), stats.sem(pseudo))
    told = [float(saved[name]) for name in ("point", "point_low", "point_high")]
    assert told == pytest.approx([1000 / np.exp(end) for end in (crossed(every), ends[1], ends[0])], rel=5e-3)
    assert told[1] < told[0] < told[2]


def test_where_more_evaluations_are_worse_no_crossing_is_told():
    values = nets(b=[10.0, 10.1, 9.9], a5=[40.0, 41.0, 39.0], a10=[10.0, 10.1, 9.9], a20=[15.0, 15.4, 14.7])
    strata = [stratum(f"a{k}", "b", 3, nfe=k) for k in (5, 10, 20)]
    asked = row("saves-steps", strata, margin=0.5, counted="nfe", reference_nfe=1000)
    found = judged(asked, plain(values))
    assert found["verdict"] == INCONCLUSIVE and found["speedup"]["point"] == ""
    assert found["note"] == "nfe 20 is worse than 10, so that no crossing is estimated"
    good = judged(asked, plain(values | nets(a20=[12.0, 12.2, 11.9])))  # worse than with 10, but as good
    assert (
        good["speedup"]["k_hi"] == 10 and float(good["speedup"]["point"]) > 100 and not good["note"].endswith("mated")
    )


def test_what_a_grid_that_ends_too_soon_does_to_a_verdict_is_said():
    """Without the K that are as good, a saving is refuted as far as was tried, and what is left open is told."""
    values = nets(b=[10.0, 10.1, 9.9], a200=[30.0, 31.0, 29.0], a500=[10.0, 10.2, 9.7])
    strata = [stratum(f"a{k}", "b", 3, steps=k) for k in (200, 500)]
    asked = row("saves-steps", strata, margin=0.5, counted="steps", reference_nfe=1000)
    assert judged(asked, plain(values))["verdict"] == SUPPORTED
    found = judged(asked | {"strata": strata[:1]}, plain(values))
    assert found["verdict"] == REFUTED
    assert found["note"] == "as far as was tried: a saving below 5 times is left open"


def test_a_saving_is_as_sure_as_the_least_sure_of_its_steps():
    values = nets(b=[10.0, 10.1, 9.9], a200=[9.0, 9.1, 8.9], a500=[10.0, 13.5, 11.0])
    strata = [stratum(f"a{k}", "b", 3, steps=k) for k in (200, 500)]
    asked = row("saves-steps", strata, margin=0.5, counted="steps", reference_nfe=1000)
    found = judged(asked, plain(values))
    alone = judged(row("as-good-as", strata[1:], margin=0.5), plain(values))
    assert found["speedup"]["k_hi"] == 200 and found["p"] == alone["p"] > 0.01
    assert found["note"] == "p is that of the least sure step on the way, steps 500"
    assert json.loads(found["parts"])[0]["estimate"] == pytest.approx(found["estimate"] / 10)


def test_a_saving_whose_order_makes_no_sense_is_not_decided():
    values = nets(b=[10.0, 10.1, 9.9], a5=[40.0, 41.0, 39.0], a10=[10.0, 10.1, 9.9], a20=[20.0, 21.0, 19.5])
    strata = [stratum(f"a{k}", "b", 3, nfe=k) for k in (5, 10, 20)]
    found = judged(row("saves-steps", strata, margin=0.5, counted="nfe", reference_nfe=1000), plain(values))
    assert found["verdict"] == INCONCLUSIVE and "nfe 10 is as good and 20 is worse" in found["note"]
    assert found["speedup"]["verdict"] == INCONCLUSIVE


def test_a_saving_has_a_ratio_of_seconds_where_the_rounds_are_enough():
    values = nets(b=[10.0, 10.1, 9.9], a500=[10.0, 10.2, 9.7])
    asked = row("saves-steps", [stratum("a500", "b", 3, steps=500)], margin=0.5, counted="steps", reference_nfe=1000)
    for rounds, known in ((15, True), (14, False), (1, False)):
        times = {path: np.linspace(1, 1.1, rounds) * (2 if path[0] == "b" else 1) for path in values}
        saved = judged(asked, plain(values)._replace(seconds=times))["speedup"]
        assert np.isfinite(saved["seconds_ratio"]) == known
        assert not known or saved["seconds_ratio"] == pytest.approx(2)
    noise = np.random.default_rng(5).lognormal(0, 0.2, (2, 20))
    times = {path: noise[0] * 2 if path[0] == "b" else noise[1] for path in values}
    saved = judged(asked, plain(values)._replace(seconds=times))["speedup"]
    logs = np.log(2 * noise[0] / noise[1])
    told = [np.log(saved[name]) for name in ("seconds_ratio_low", "seconds_ratio_high")]
    assert told == pytest.approx(stats.t.interval(0.95, 19, logs.mean(), stats.sem(logs)))


def test_one_net_is_judged_by_its_blocks_and_says_so():
    given = tables(nets(a=[8.0], b=[10.0]), block_sd=0.5)
    found = judged(row(strata=[stratum("a", "b", 1)]), given)
    blocks = {
        path: part["value"].to_numpy()
        for path, part in given.pseudo[given.pseudo["metric"] == "fd_classifier"].groupby("path")
    }
    d = blocks["a-r0"] - blocks["b-r0"]
    assert found["estimate"] == pytest.approx(d.mean()) and found["scope"] == "this net"
    assert found["ci_high"] == pytest.approx(stats.t.interval(0.95, 7, d.mean(), d.std(ddof=1) / 8**0.5)[1])
    two = judged(row(strata=[stratum("a", "b", 2)]), tables(nets(a=[8.0, 8.2], b=[10.0, 10.3])))
    assert two["scope"] == "these 2 nets" and two["verdict"] == SUPPORTED
    assert two["estimate"] == pytest.approx(8.1 - 10.15)


def test_what_a_verdict_needs_beside_its_interval():
    a, b = [8.0, 7.0, 9.0], [11.0, 10.0, 12.5]
    asked = row(strata=[stratum("a", "b", 3)])
    few = judged(asked, tables(nets(a=a, b=b), n=127))
    assert few["verdict"] == INCONCLUSIVE and "n = 127" in few["note"]
    other_way = nets(
        a=[{"fd_classifier": x, "energy_classifier": 5.0} for x in a],
        b=[{"fd_classifier": x, "energy_classifier": 4.0} for x in b],
    )
    found = judged(asked, tables(other_way))
    assert found["verdict"] == INCONCLUSIVE and not found["agrees_energy"] and found["agrees_classifier_2"]
    assert "energy_classifier points the other way" in found["note"]
    no_second = nets(a=[{"fd_classifier": x, "fd_classifier_2": np.nan} for x in a], b=b)
    assert "fd_classifier_2 cannot confirm it" in judged(asked, tables(no_second))["note"]
    near_zero = judged(asked, tables(nets(a=[-0.5, -0.6, -0.4], b=[0.1, 0.2, 0.1]), block_sd=2.0))
    assert near_zero["verdict"] == INCONCLUSIVE and "within two standard errors of zero" in near_zero["note"]
    spread = judged(asked, tables(nets(a=[70.0, 72.0, 88.0], b=[4.8, 4.9, 20.0]), block_sd=0.3))
    assert spread["verdict"] == INCONCLUSIVE and "differs so much between nets" in spread["note"]


def test_a_claim_over_several_k_says_what_it_comes_to_at_each():
    strata = [stratum(f"a{k}", f"b{k}", 3, steps=k) for k in (200, 500)]
    values = nets(b200=[10.0, 11.0, 12.0], a200=[60.0, 62.0, 54.0], b500=[5.0, 5.5, 6.0], a500=[10.0, 14.0, 19.0])
    found = judged(row(strata=strata), plain(values))
    parts = json.loads(found["parts"])
    assert [part["at"]["steps"] for part in parts] == [200, 500]
    assert [part["estimate"] for part in parts] == pytest.approx([(176 - 33) / 33, (43 - 16.5) / 16.5], abs=1e-4)
    assert np.mean([part["estimate"] for part in parts]) == pytest.approx(found["estimate"], abs=1e-4)


GONE = {"fd_classifier": np.nan, "energy_classifier": np.nan, "fd_classifier_2": np.nan, "diverged": 0.1}


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([GONE] * 3, [10.0, 11.0, 12.0], REFUTED),
        ([5.0, 5.0, 6.0], [GONE] * 3, SUPPORTED),
        ([20.0, 21.0, 22.0, GONE], [10.0, 11.0, 12.0, 11.0], REFUTED),  # as the others say
        ([5.0, 5.0, 6.0, GONE], [10.0, 11.0, 12.0, 11.0], INCONCLUSIVE),  # it is never better
        ([5.0, 5.0, 6.0, 5.0], [10.0, 11.0, 12.0, GONE], SUPPORTED),
        ([20.0, 21.0, 22.0, 20.0], [10.0, 11.0, 12.0, GONE], INCONCLUSIVE),  # one lost net of b's is no win of a's
        ([5.0, 5.0, GONE], [10.0, 11.0, GONE], INCONCLUSIVE),
        ([GONE], [10.0], REFUTED),
        ([GONE, 5.0], [10.0, 11.0], INCONCLUSIVE),
    ],
)
def test_a_diverged_cell_is_the_worst_there_is_and_decides_nothing_alone(a, b, verdict):
    found = judged(row(strata=[stratum("a", "b", len(a))]), tables(nets(a=a, b=b)))
    assert found["verdict"] == verdict
    if verdict == INCONCLUSIVE:
        assert "diverged" in found["note"] and found.get("p", 1.0) >= 0.5


def test_one_net_that_diverged_at_one_of_several_k_is_judged():
    strata = [stratum(f"a{k}", f"b{k}", 1, steps=k) for k in (1, 2)]
    found = judged(row(strata=strata), tables(nets(a1=[5.0], b1=[10.0], a2=[GONE], b2=[10.0])))
    assert found["verdict"] == REFUTED and found["scope"] == "this net"


def test_what_was_not_computed_is_no_divergence():
    missing = GONE | {"diverged": 0.0}
    asked = row(strata=[stratum("a", "b", 3)])
    assert "not computed" in judged(asked, tables(nets(a=[5.0, 5.0, missing], b=[10.0, 11.0, 12.0])))["note"]


def test_no_verdict_rests_on_a_biased_distance_and_others_confirm_each_other():
    values = nets(a=[{"fid_inception": x} for x in (5.0, 5.1, 5.2)], b=[{"fid_inception": x} for x in (9.0, 9.1, 9.2)])
    found = judged(row(strata=[stratum("a", "b", 3)], metric="fid_inception"), tables(values))
    assert found["verdict"] == INCONCLUSIVE and "bias" in found["note"]
    a = [{"fd_classifier": x, "fd_classifier_2": 20.0} for x in (8.0, 7.0, 9.0)]
    other = row(strata=[stratum("a", "b", 3)], metric="energy_classifier")
    found = judged(other, tables(nets(a=a, b=[11.0, 10.0, 12.5])))
    assert found["verdict"] == INCONCLUSIVE and "fd_classifier_2 points the other way" in found["note"]


def test_sides_that_are_trained_apart_need_three_replicates():
    values = nets(a=[8.0, 8.1, 8.2], b=[10.0, 10.1, 10.3])
    for count, verdict in ((1, INCONCLUSIVE), (3, SUPPORTED)):
        found = judged(row(strata=[stratum("a", "b", count)], trained_apart=True), tables(values))
        assert found["verdict"] == verdict
    one = judged(row(strata=[stratum("a", "b", 1)], trained_apart=True), tables(values))
    assert "trained differently, which 3 replicates can decide" in one["note"] and one["estimate"] < 0
    seconds = {"a-r0": np.linspace(1, 1.1, 15), "b-r0": np.linspace(2, 2.2, 15)}
    times = row(strata=[stratum("a", "b", 1)], metric="seconds", trained_apart=True)
    assert judged(times, tables(values, seconds=seconds))["verdict"] == SUPPORTED


def test_a_share_of_zero_in_one_of_several_k_is_a_value():
    shares = {"a1": (0.3, 0.35, 0.4), "b1": (0.0, 0.0, 0.0), "a2": (0.5, 0.55, 0.6), "b2": (0.2, 0.25, 0.2)}
    values = nets(**{side: [{"coverage": x} for x in found] for side, found in shares.items()})
    strata = [stratum(f"a{k}", f"b{k}", 3, steps=k) for k in (1, 2)]
    found = judged(row(strata=strata, metric="coverage"), tables(values))
    assert found["verdict"] == SUPPORTED and found["estimate"] == pytest.approx(-(0.35 + 0.55 - 0.65 / 3) / 2)


def test_a_measure_that_is_better_when_high_is_turned():
    high = nets(a=[{"coverage": x} for x in (0.8, 0.85, 0.9)], b=[{"coverage": x} for x in (0.5, 0.55, 0.52)])
    assert judged(row(strata=[stratum("a", "b", 3)], metric="coverage"), tables(high))["verdict"] == SUPPORTED
    assert judged(row(strata=[stratum("b", "a", 3)], metric="coverage"), tables(high))["verdict"] == REFUTED
    close = nets(a=[{"coverage": x} for x in (0.50, 0.49, 0.51)], b=[{"coverage": x} for x in (0.52, 0.52, 0.52)])
    as_good = row("as-good-as", [stratum("a", "b", 3)], metric="coverage", margin=0.2)
    found = judged(as_good, tables(close))
    assert found["verdict"] == SUPPORTED and found["estimate"] == pytest.approx(0.8 * 0.52 - 0.50)


def test_several_k_weigh_alike_whatever_their_distances():
    """At K = 100 distances are 100 times larger; the mean of relative differences is what is judged."""
    values = nets(a1=[900.0, 950.0, 920.0], b1=[1000.0, 1000.0, 1000.0], a2=[9.5, 9.6, 9.4], b2=[10.0, 10.0, 10.0])
    strata = [stratum("a1", "b1", 3, steps=100), stratum("a2", "b2", 3, steps=500)]
    found = judged(row(strata=strata), plain(values))
    expected = np.mean([(900 + 950 + 920) / 3000 - 1, (9.5 + 9.6 + 9.4) / 30 - 1])
    assert found["estimate"] == pytest.approx(expected) and found["reference"] == 1.0


def test_a_pooled_side_is_its_mean():
    asked = row(
        strata=[
            {
                "at": {},
                "a": {str(r): [f"p-r{r}", f"q-r{r}"] for r in range(3)},
                "b": {str(r): [f"b-r{r}"] for r in range(3)},
            }
        ]
    )
    found = judged(asked, plain(nets(p=[4.0, 5.0, 6.0], q=[8.0, 9.0, 10.0], b=[10.0, 10.0, 10.0])))
    assert found["estimate"] == pytest.approx(7.0 - 10.0)


def test_times_are_compared_round_by_round():
    rng = np.random.default_rng(0)
    slow = rng.lognormal(0, 0.5, 20)  # a machine whose speed wanders
    seconds = {"a-r0": 0.5 * slow * rng.lognormal(0, 0.01, 20), "b-r0": slow}
    asked = row(strata=[stratum("a", "b", 1)], metric="seconds")
    found = judged(asked, tables(nets(a=[1.0], b=[1.0]), seconds=seconds))
    assert found["verdict"] == SUPPORTED and np.exp(found["estimate"]) == pytest.approx(0.5, rel=0.02)
    few = judged(asked, tables(nets(a=[1.0], b=[1.0]), seconds={name: x[:14] for name, x in seconds.items()}))
    assert few["verdict"] == INCONCLUSIVE and "14 rounds" in few["note"]
    assert "not timed" in judged(asked, tables(nets(a=[1.0], b=[1.0])))["note"]
    for margin, verdict in ((0.9, REFUTED), (1.1, SUPPORTED)):  # b takes twice as long as a
        late = row("as-good-as", [stratum("b", "a", 1)], metric="seconds", margin=margin)
        assert judged(late, tables(nets(a=[1.0], b=[1.0]), seconds=seconds))["verdict"] == verdict
    pooled = row(strata=[{"at": {}, "a": {"0": ["a-r0", "b-r0"]}, "b": {"0": ["b-r0"]}}], metric="seconds")
    found = judged(pooled, tables(nets(a=[1.0], b=[1.0]), seconds=seconds))
    assert np.exp(found["estimate"]) == pytest.approx(0.75, rel=0.02)
    untimed = judged(asked, tables(nets(a=[1.0], b=[1.0]), seconds=seconds | {"a-r0": np.full(20, np.nan)}))
    assert untimed["verdict"] == INCONCLUSIVE and "not timed" in untimed["note"]


def test_noise_along_the_chain_is_its_mean():
    noise = pd.DataFrame(
        [
            {"path": p, "noise_mad": v}
            for p, r in nets(a=[0.2, 0.21, 0.19], b=[0.5, 0.5, 0.52]).items()
            for v in (r, 0.0)
        ]
    )
    found = judged(
        row(strata=[stratum("a", "b", 3)], metric="noise_path"), tables(nets(a=[1.0] * 3, b=[1.0] * 3), noise=noise)
    )
    assert found["verdict"] == SUPPORTED and found["estimate"] == pytest.approx((0.2 - 0.5 - 0.02 / 3) / 2, abs=1e-9)


def test_noise_along_a_chain_that_diverged_is_not_that_of_its_first_states():
    noise = [{"path": p, "noise_mad": v} for p in nets(a=[0] * 3) for v in (0.2, np.nan)]
    noise += [{"path": p, "noise_mad": v} for p in nets(b=[0] * 3) for v in (0.5, 0.4)]
    values = nets(a=[{"diverged": 1.0}] * 3, b=[1.0] * 3)
    asked = row(strata=[stratum("a", "b", 3)], metric="noise_path")
    assert judged(asked, tables(values, noise=pd.DataFrame(noise)))["verdict"] == REFUTED


def ways(ratio, model, replicate, rng, pairs=16):
    return [{"model": model, "replicate": replicate, "display": "clamp", "pair": pair, "sampler": None,
             "path_ratio": ratio + rng.normal(0, 0.05)} for pair in range(pairs)]  # fmt: skip


def test_ways_between_latents_are_judged_pair_by_pair_or_net_by_net():
    rng = np.random.default_rng(0)
    table = pd.DataFrame([each for r in range(3) for each in ways(1.5, "dcgan", r, rng) + ways(3.0, "imvfx", r, rng)])
    sides = {r: [{"model": "dcgan"}] for r in "012"}, {r: [{"model": "imvfx", "sampler": "ancestral"}] for r in "012"}
    for count, scope in ((3, "this way of training"), (1, "this net")):
        a, b = ({r: side[r] for r in "012"[:count]} for side in sides)
        found = judged(
            row(strata=[{"at": {}, "a": a, "b": b}], metric="path_ratio"),
            tables(nets(x=[1.0]), interpolation=table),
        )
        assert found["verdict"] == SUPPORTED and found["scope"] == scope
        assert found["estimate"] == pytest.approx(-1.5, abs=0.1) and found["n"] == 16
    asked = row(strata=[{"at": {}, "a": sides[0], "b": sides[1]}], metric="path_ratio")
    few = judged(asked, tables(nets(x=[1.0]), interpolation=table[table["pair"] < 7]))
    assert few["verdict"] == INCONCLUSIVE and "7 pairs" in few["note"]
    lost = table[(table["model"] != "dcgan") | (table["pair"] == 3)]  # all other pairs of the DCGAN diverged
    assert judged(asked, tables(nets(x=[1.0]), interpolation=lost))["verdict"] == REFUTED
    one = row(strata=[{"at": {}, "a": {"0": sides[0]["0"]}, "b": {"0": sides[1]["0"]}}], metric="path_ratio")
    unpaired = table[(table["model"] != "imvfx") | (table["pair"] > 0)]
    found = judged(one, tables(nets(x=[1.0]), interpolation=unpaired))
    assert found["verdict"] == SUPPORTED and "diverged in 1 of 16" in found["note"]
    none = judged(asked, tables(nets(x=[1.0]), interpolation=table[table["model"] != "dcgan"]))
    assert "not computed" in none["note"]


def test_holm_is_over_the_claims_that_are_not_exploratory():
    rng = np.random.default_rng(2)
    values, rows = {}, []
    for index in range(5):
        values |= nets(**{f"a{index}": 10 - index / 2 + rng.normal(0, 0.6, 3), f"b{index}": [10.0, 10.1, 9.9]})
        rows.append(row(strata=[stratum(f"a{index}", f"b{index}", 3)], claim=f"C{index}", exploratory=index == 4))
    rows.append(row(claim="left", not_asked="the study times nothing"))
    claims, _ = verdicts.judge(rows, plain(values), {"C1": "changed after its first sample was drawn"})
    family = [each for each in claims if each["claim"] in ("C0", "C1", "C2", "C3")]
    expected = multipletests([each["p"] for each in family], method="holm")[1]
    assert [each["p_holm"] for each in family] == pytest.approx(expected)
    assert "p_holm" not in claims[4] and claims[5]["verdict"] == "not asked" and "times nothing" in claims[5]["note"]
    assert "changed after" in claims[1]["note"]
    assert [each["after_holm"] for each in family] == [None if each["verdict"] == INCONCLUSIVE else bool(p <= 0.05)
                                                       for p, each in zip(expected, family, strict=True)]  # fmt: skip
    noted = [verdicts.ALONE in each["note"] for each in family]
    assert noted == [each["after_holm"] is False for each in family] and any(noted)


def test_what_refutes_is_corrected_for_all_claims_too():
    values, rows = nets(b=[10.0, 10.1, 9.9]), []
    for index, a in enumerate([[11.0, 10.8, 11.9], *[[9.9, 10.0, 10.3]] * 9]):
        values |= nets(**{f"a{index}": a})
        rows.append(row(strata=[stratum(f"a{index}", "b", 3)], claim=f"C{index}"))
    claims, _ = verdicts.judge(rows, plain(values), {})
    assert claims[0]["verdict"] == REFUTED and not claims[0]["after_holm"] and verdicts.ALONE in claims[0]["note"]
    refutes = [each["p"] if each["verdict"] == REFUTED else 1 - each["p"] for each in claims]
    expected = multipletests(refutes, method="holm")[1][0]
    assert claims[0]["p"] < 0.05 < claims[0]["p_holm"] == pytest.approx(expected)


def test_arms_that_the_nets_cannot_tell_apart_are_ties():
    pair = {"axes": {"start": "loud"}, "against": "noise", "display": "clamp", "metric": "fd_classifier"}
    pair |= {"against_steps": 1000}
    pair |= {side: {str(r): [f"{side}-r{r}"] for r in range(3)} for side in "ab"}
    words = [
        verdicts.differences([pair], plain(nets(a=a, b=[10.0, 11.0, 9.0])))[0]["word"]
        for a in ([10.2, 10.7, 9.1], [5.0, 5.2, 5.1], [20.0, 22.0, 19.0])
    ]
    assert words == ["tie", "better", "worse"]
    few = tables(nets(a=[40.0, 41.0, 39.0], b=[10.0, 11.0, 9.0]), n=64)
    (found,) = verdicts.differences([pair], few)
    assert found["word"] == "undecided" and "n = 64" in found["note"]
