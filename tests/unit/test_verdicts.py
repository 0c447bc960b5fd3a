import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study

from ddpm_dip.report import tables
from ddpm_dip.report.verdicts import AGREES, DISAGREES, NOT_DECIDED, closer, settle, shorter, tally, usual, verdicts


def all_cells(rows, floor=5.0):
    """A table of cells from (cell, distance) pairs, the same under both displays, with floors."""
    records = {}
    for index, (cell, distance) in enumerate(rows):
        record = made_study.metrics(cell)
        for shown in record["displays"].values():
            shown.update(fd_classifier=distance)
        records[str(index)] = record
    return tables.with_floors(tables.cells(records), made_study.floors(floor=floor))


def cells(rows, floor=5.0):
    """What the verdicts take of it."""
    return usual(all_cells(rows, floor), {})


def timing(rows):
    """A timing table from (method, steps, median), quartiles 2 % away."""
    return pd.DataFrame(
        [
            {
                "method": m,
                "passes": 0 if m == "ddpm" else 2,
                "steps": k,
                "batch": 1,
                "device": "cpu",
                "backend": "x",
                "median_s": s,
                "q1_s": 0.98 * s,
                "q3_s": 1.02 * s,
                "repeats": 5,
            }
            for m, k, s in rows
        ]
    )


def verdict(claim, *arguments):
    return next(v for v in verdicts(*arguments) if v.claim == claim)


def noise(k, distance):
    return made_study.cell(steps=k), distance


def dip(k, distance, passes=2, **other):
    return made_study.cell(start="dip", passes=passes, steps=k, **other), distance


@pytest.mark.parametrize(
    ("a", "b", "floor", "sign"),
    [
        (10, 20, 5, 1),
        (20, 10, 5, -1),
        (10, 14, 5, 0),
        (100, 109, 5, 0),
        (100, 111, 5, 1),
        (10, 20, float("nan"), 0),
        (10, 10, 0, 0),
        (1e9, 2e9, 5, 1),
    ],
)
def test_distances_differ_beyond_the_floor_and_a_tenth(a, b, floor, sign):
    assert closer(a, b, floor) == sign
    assert closer(b, a, floor) == -sign


def test_times_differ_when_their_quartiles_are_apart():
    assert shorter((1, 2, 3), (4, 5, 6)) == 1
    assert shorter((4, 5, 6), (1, 2, 3)) == -1
    assert shorter((1, 2, 3), (3, 4, 5)) == shorter((1, 5, 9), (4, 5, 6)) == 0


@pytest.mark.parametrize(
    ("signs", "word"),
    [
        ([], NOT_DECIDED),
        ([1, 1], AGREES),
        ([-1, -1, 0], DISAGREES),
        ([1, 0], AGREES),
        ([1, 0, 0], NOT_DECIDED),
        ([1, -1], NOT_DECIDED),
        ([1, 1, 1, -1], NOT_DECIDED),
        ([0, 0], NOT_DECIDED),
    ],
)
def test_settling_needs_half_decided_and_one_direction(signs, word):
    assert settle(signs) == word


def test_tally_says_when_comparisons_point_both_ways():
    assert tally([1, 1, 0]) == "3 comparisons: 2 for, 1 below the noise"
    assert tally([1, -1]).endswith("pointing both ways")


def test_every_claim_has_one_verdict_even_without_any_cell():
    empty = cells([noise(100, 10)]).iloc[:0]
    result = verdicts(empty)
    assert [v.claim for v in result if " " not in v.claim] == [f"A{i}" for i in range(1, 10)]
    assert all(v.verdict == NOT_DECIDED for v in result)


@pytest.mark.parametrize(
    ("distances", "word"),
    [
        ({200: (90, 40), 500: (60, 30)}, AGREES),
        ({200: (40, 90), 500: (30, 60)}, DISAGREES),
        ({200: (90, 40), 500: (30, 60)}, NOT_DECIDED),
        ({200: (40, 41), 500: (30, 29)}, NOT_DECIDED),
    ],
)
def test_better_quality_at_the_same_k(distances, word):
    rows = [row for k, (plain, start) in distances.items() for row in (noise(k, plain), dip(k, start))]
    found = verdict("A4", cells(rows))
    assert found.verdict == word
    assert any("K = 200" in line for line in found.cases[0].evidence)


def test_other_samplers_weights_and_clipping_do_not_disturb_a_verdict():
    rows = [noise(200, 90), dip(200, 20)]
    found = verdicts(cells(rows))
    others = [
        {"sampler": "ddim"},
        {"sampler": "ancestral-small"},
        {"nfe": 20},
        {"weights": "ema"},
        {"clip_x0": True},
        {"sampler": "ddim", "nfe": 20, "weights": "ema", "clip_x0": True},
    ]
    rows += [(made_study.cell(steps=200, **other), 1.0) for other in others]
    config = {"training": {"weights": "last"}, "sampling": {"clip_x0": False}}
    assert verdicts(usual(all_cells(rows), config)) == found


def test_the_study_s_own_weights_and_clipping_are_what_counts():
    own = {"weights": "ema", "clip_x0": True}
    rows = [(made_study.cell(steps=200, **own), 90), dip(200, 20, **own), noise(200, 1)]
    config = {"training": {"weights": "ema"}, "sampling": {"clip_x0": True}}
    found = verdict("A4", usual(all_cells(rows), config))
    assert found.verdict == AGREES and found.cases[0].where == "hw4, EMA weights, minmax, DIP(2)+DDPM"


def test_replicates_count_by_their_mean():
    rows = [(made_study.cell(steps=200, replicate=r), d) for r, d in enumerate((60, 120))]
    rows += [(made_study.cell(start="dip", passes=2, steps=200, replicate=r), d) for r, d in enumerate((100, 20))]
    found = verdict("A4", cells(rows))
    assert found.verdict == AGREES and found.cases[0].evidence == ["K = 200: 60 against 90 (closer)"]
    assert found.cases[0].signs == [1]


def test_only_the_largest_budget_counts_for_quality():
    rows = [noise(200, 40), dip(200, 90), (made_study.cell(epochs=5, steps=200), 900), dip(200, 10, epochs=5)]
    assert verdict("A4", cells(rows)).verdict == DISAGREES


def test_the_free_mean_image_start_is_a_control_of_its_own():
    rows = [noise(200, 90), dip(200, 60), (made_study.cell(start="mean-image", steps=200), 20)]
    table = cells(rows)
    assert verdict("A4", table).verdict == AGREES
    assert verdict("A4 control", table).verdict == DISAGREES


def test_time_grows_with_k():
    table = cells([noise(100, 10)])
    assert verdict("A1", table, timing([("ddpm", 100, 1), ("ddpm", 200, 2), ("ddpm", 300, 3)])).verdict == AGREES
    assert verdict("A1", table, timing([("ddpm", 100, 1), ("ddpm", 200, 1.01)])).verdict == NOT_DECIDED
    assert verdict("A1", table, timing([("ddpm", 100, 2), ("ddpm", 200, 1)])).verdict == DISAGREES


@pytest.mark.parametrize(("alone", "word"), [(0.001, AGREES), (0.05, NOT_DECIDED), (0.3, DISAGREES)])
def test_cost_of_passes_from_their_own_time(alone, word):
    table = cells([noise(100, 10)])
    times = timing([("ddpm", 100, 1), ("dip+ddpm", 100, 1 + alone), ("dip", 0, alone)])
    assert verdict("A2", table, times).verdict == word


def test_cost_of_passes_from_a_noisy_difference_is_not_decided():
    times = timing([("ddpm", 100, 1), ("dip+ddpm", 100, 1.03)])
    assert verdict("A2", cells([noise(100, 10)]), times).verdict == NOT_DECIDED


TIMES = [(m, k, k / 100 * (1.001 if m == "dip+ddpm" else 1)) for m in ("ddpm", "dip+ddpm") for k in (100, 300, 500)]


def test_quality_in_less_time_where_dip_needs_fewer_steps():
    rows = [noise(100, 400), noise(300, 200), noise(500, 30), dip(100, 28), dip(300, 27), dip(500, 26)]
    found = verdict("A5", cells(rows), timing(TIMES))
    assert found.verdict == AGREES
    assert any("DDPM K = 500, 5 s; DIP + DDPM K = 100, 1 s" in line for line in found.cases[0].evidence)


def test_quality_in_less_time_fails_where_the_same_k_is_needed_or_dip_never_gets_there():
    rows = [noise(100, 400), noise(300, 30), noise(500, 10), dip(100, 420), dip(300, 31), dip(500, 29)]
    found = verdict("A5", cells(rows), timing(TIMES))
    assert found.verdict == DISAGREES
    assert any("DIP + DDPM never" in line for line in found.cases[0].evidence)


def test_quality_in_less_time_needs_times():
    assert verdict("A5", cells([noise(100, 400), dip(100, 28)])).cases == []


def test_few_passes():
    rows = [noise(100, 300), dip(100, 40, 1), dip(100, 41, 2), dip(100, 80, 10), dip(100, 200, 50)]
    found = verdict("A6", cells(rows))
    assert found.verdict == AGREES
    assert "best few 40 (1), best many 80 (10), noise 300" in found.cases[0].evidence[0]
    assert verdict("A6", cells([dip(100, 40, 1), dip(100, 20, 10)])).verdict == DISAGREES


def test_largest_budget():
    rows = [dip(500, d, 3, epochs=e) for e, d in ((5, 90), (10, 60), (20, 30))]
    assert verdict("A7", cells(rows)).verdict == AGREES
    rows = [dip(500, d, 3, epochs=e) for e, d in ((5, 30), (10, 60), (20, 90))]
    assert verdict("A7", cells(rows)).verdict == DISAGREES


def test_dip_inside_is_compared_with_its_own_network_and_kept_out_of_the_rest():
    inside = [(made_study.cell("hw4-dip", 5, start, 2, steps=1000), 300) for start in ("dip", "dip-every-step")]
    plain = [(made_study.cell("hw4", 5, steps=1000), 50), (made_study.cell("hw4-sees", 5, steps=1000), 900)]
    table = cells(inside + plain)
    networks = {"hw4-dip": "hw4", "hw4": "hw4", "hw4-sees": "hw4-sees"}
    found = verdict("A8", table, None, networks, ["hw4-dip"])
    assert found.verdict == AGREES
    assert all("hw4-sees" not in line for case in found.cases for line in case.evidence)
    assert verdict("A4", table, None, networks, ["hw4-dip"]).cases == []


def test_what_the_tables_do_not_measure_is_not_decided_and_says_so():
    for claim, word in (("A3", "noise"), ("A9", "diversity")):
        found = verdict(claim, cells([noise(200, 90), dip(200, 20)]))
        assert found.verdict == NOT_DECIDED and f"no measure of {word}" in found.reason
