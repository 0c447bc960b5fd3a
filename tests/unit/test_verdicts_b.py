import statistics
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study

from ddpm_dip.report import tables, verdicts_b
from ddpm_dip.report.verdicts import AGREES, DISAGREES, NOT_DECIDED, usual


def verdict(claim, evolution=None, interpolation=None):
    return next(v for v in verdicts_b.verdicts(evolution, interpolation) if v.claim == claim)


def interpolation(*records):
    return tables.interpolation({str(index): record for index, record in enumerate(records)})


def evolution(change=lambda point, metrics: None, floors=None):
    """The cells of study B, as the verdicts take them."""
    records = {}
    for index, point in enumerate(made_study.points_of(made_study.study_b())):
        records[str(index)] = made_study.metrics(point)
        change(point, records[str(index)])
    return usual(tables.with_floors(tables.cells(records), made_study.floors() if floors is None else floors), {})


def test_a_straighter_path_of_the_dcgan_agrees_for_every_noise_and_display():
    found = verdict("B1", None, interpolation(*made_study.ways()))
    assert found.verdict == AGREES
    assert [case.where for case in found.cases] == [f"imvfx against dcgan, {d}" for d in ("clamp", "minmax")]
    assert all(case.signs == [1] * 4 for case in found.cases)  # two paths, two spaces
    ratios = [row["path_ratio"] for row in made_study.between("ancestral", "shared")["measures"][: made_study.PAIRS]]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    said = f"linear path, pixels: {statistics.mean(ratios):.1f} ± {error:.2g} against dcgan "
    assert any(line.startswith(said) for line in found.cases[-1].evidence), (said, found.cases[-1].evidence)


def test_equal_paths_are_not_decided_and_longer_ones_disagree():
    gan, ddim = made_study.between(None), made_study.between("ddim")
    for row, rival in zip(ddim["measures"], gan["measures"], strict=True):
        row["path_ratio"] = rival["path_ratio"] + 0.001
    assert verdict("B1 DDIM", None, interpolation(gan, ddim)).verdict == NOT_DECIDED
    for row in ddim["measures"]:
        row["path_ratio"] = 1.2
    assert verdict("B1 DDIM", None, interpolation(gan, ddim)).verdict == DISAGREES


def test_jumps_are_seen_where_the_largest_step_is_the_larger_share():
    table = interpolation(*made_study.ways())
    jumps = verdict("B1 jumps", None, table)
    assert jumps.verdict == AGREES and all(case.signs == [1] * 4 for case in jumps.cases)
    smooth = [
        record
        if record["names"]["noise"] != "shared"
        else made_study.between("ancestral", "shared", record["names"]["path"])
        for record in made_study.ways()
    ]
    assert verdict("B1 jumps", None, interpolation(*smooth)).verdict == NOT_DECIDED


def test_noise_of_its_own_decides_neither_of_the_study_s_claims():
    """Independent noise makes long paths of even steps by itself: it has a statement of its own."""
    shared = [made_study.between("ancestral", "shared"), made_study.between(None, jump=0.1)]
    for row, rival in zip(shared[0]["measures"], shared[1]["measures"], strict=True):
        row |= {key: rival[key] for key in ("path_ratio", "largest_share")}
    table = interpolation(*shared, made_study.between("ancestral", "independent"))
    verdicts = {v.claim: v.verdict for v in verdicts_b.verdicts(None, table)}
    assert verdicts["B1"] == verdicts["B1 jumps"] == NOT_DECIDED and verdicts["B1 independent"] == AGREES


def test_ends_that_hardly_differ_say_that_the_noise_decides():
    records = made_study.ways()
    for record in records:
        for row in record["measures"]:
            row["end_to_end"] *= 0.1 if record["names"]["noise"] == "shared" else 1
    found = verdict("B1 ends", None, interpolation(*records))
    assert found.verdict == AGREES and found.cases[0].signs == [1] * 4


def test_two_dcgans_are_two_cases():
    table = interpolation(*made_study.ways(), made_study.between(None, model="other"))
    assert [case.where for case in verdict("B1", None, table).cases] == [
        f"imvfx against {gan}, {display}" for display in ("clamp", "minmax") for gan in ("dcgan", "other")
    ]


def test_paths_are_compared_with_their_like():
    """A U-Net's spherical path has no rival in a DCGAN's linear one."""
    table = interpolation(made_study.between(None), made_study.between("ddim", path="spherical"))
    found = verdict("B1 DDIM", None, table)
    assert found.cases == [] and found.verdict == NOT_DECIDED and "not run" in found.reason


def test_a_pair_whose_strip_never_changes_does_not_count():
    gan, chain = made_study.between(None), made_study.between("ancestral", "shared")
    chain["measures"][0]["path_ratio"] = None
    assert verdict("B1", None, interpolation(gan, chain)).verdict == AGREES


def test_early_and_late_epochs_are_judged_apart():
    table = evolution()
    early, late, tone = (verdict(claim, table) for claim in ("B2 early", "B2 late", "B2 tone"))
    assert early.verdict == late.verdict == tone.verdict == AGREES
    assert early.cases[0].evidence == ["1 epoch: 300 against 60 (farther)"]
    assert late.cases[0].evidence == [f"{e} epochs: 12 against 30 (closer)" for e in (20, 50)]
    for found in (early, late, tone):
        assert [case.where for case in found.cases] == [f"imvfx against dcgan, {d}" for d in ("clamp", "minmax")]


def test_distances_within_the_floor_decide_nothing_and_reversed_ones_disagree():
    def change(record, metrics):
        for values in metrics["displays"].values():
            values["fd_classifier"] = 30.0 if record["sampler"] is None else 33.0  # the floor is 6.1
            values["tone_sd"] = 0.2

    table = evolution(change)
    assert {verdict(claim, table).verdict for claim in ("B2 early", "B2 late", "B2 tone")} == {NOT_DECIDED}

    def reverse(record, metrics):
        for values in metrics["displays"].values():
            values["fd_classifier"] = 300.0 if record["sampler"] is None else 12.0
            values["tone_sd"] = 0.01 if record["sampler"] is None else 3.0

    table = evolution(reverse)
    verdicts = {claim: verdict(claim, table).verdict for claim in ("B2 early", "B2 late", "B2 tone")}
    assert verdicts == {"B2 early": DISAGREES, "B2 late": AGREES, "B2 tone": DISAGREES}


def test_without_labels_the_fid_decides():
    def change(record, metrics):
        for values in metrics["displays"].values():
            values["fid_inception"], values["fd_classifier"] = values["fd_classifier"], None

    floors = made_study.floors(floor=5.0)
    table = evolution(change, floors.assign(features="inception").drop_duplicates(["features", "display"]))
    assert verdict("B2 late", table).verdict == AGREES
    assert verdict("B2 late", evolution(change)).verdict == NOT_DECIDED  # without a floor nothing is decided


def test_epochs_that_only_one_model_has_and_what_was_not_run_decide_nothing():
    table = evolution()
    lone = table[(table["model"] == "imvfx") | (table["epochs"] == 1)]
    assert verdict("B2 late", lone).cases == []
    assert all(v.verdict == NOT_DECIDED and "not run" in v.reason for v in verdicts_b.verdicts(None, None))


@pytest.mark.parametrize(("difference", "error", "sign"), [(1.0, 0.49, 1), (-1.0, 0.49, -1), (1.0, 0.5, 0), (1, 9, 0)])
def test_two_standard_errors_part(difference, error, sign):
    assert verdicts_b.apart(difference, error) == sign


def test_a_single_pair_has_no_error_and_few_pairs_decide_nothing():
    mean, error = verdicts_b.mean_and_error(pd.Series([2.0]))
    assert mean == 2.0 and verdicts_b.apart(1e9, error) == 0
    table = interpolation(*made_study.ways())
    few = verdict("B1", None, table[table["pair"] < verdicts_b.ENOUGH - 1])
    assert few.verdict == NOT_DECIDED and few.cases[0].evidence
