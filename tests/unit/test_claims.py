"""Claims: their grammar, the cells that they ask for, the mistakes that are named, and what is recorded of them."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from test_study import DEFAULT, ROOT, B, laid_over

from ddpm_dip import study
from ddpm_dip.evaluation.displays import DISPLAYS
from ddpm_dip.evaluation.measures import MEASURES
from ddpm_dip.evaluation.verdicts import ALONE
from ddpm_dip.jobs import code, files, ledger
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import Job
from ddpm_dip.report import claims as told
from ddpm_dip.stages.claims import changed, first_claims
from ddpm_dip.study import Cell, claims, plan

AT = {"model": "hw4-sees", "steps": [200, 500]}
BETTER = {"better": {"start": "dip"}, "than": {"start": "noise"}, "at": AT}
SAVES = {"saves-steps": {"start": "dip"}, "against": {"steps": 1000}, "at": AT | {"steps": [100, 300]}, "margin": 0.5}
AS_GOOD = {
    "as-good-as": {"steps": 1000},
    "is": {"sampler": "ddim", "nfe": 10},
    "at": {"model": "hw4-sees"},
    "margin": 1,
}
WAYS = {"better": {"model": "dcgan"}, "than": {"model": "imvfx", "sampler": "ancestral"}, "metric": "path_ratio"}
MACHINE = plan.Machine("torch", "torch", "torch", 1, "torch")
FEW = {"timing": None, "experiments": {name: None for name in DEFAULT["experiments"] if name != "epochs"}}


def asked(overlay=None, base=DEFAULT, **given):
    """The claims of the default study with these claims alone."""
    config = copy.deepcopy(laid_over(overlay or {}, base))
    config["claims"] = given
    return study.read(config)


def only(**given):
    (found,) = asked(**given).claims
    return found


def paths(side):
    return {replicate: [cell.path for cell in cells] for replicate, cells in side.items()}


def test_a_side_is_laid_over_at_and_lists_in_at_are_strata():
    found = only(A=BETTER)
    assert found.kind == "better" and found.margin == 0 and found.metric == "fd_classifier" and found.display == "clamp"
    (strata,) = found.rows.values()
    assert [each.at for each in strata] == [{"steps": 200}, {"steps": 500}]
    for each in strata:
        assert list(each.a) == list(each.b) == DEFAULT["seeds"]["replicates"], "all replicates of the study, paired"
        for replicate in each.a:
            (a,), (b,) = each.a[replicate], each.b[replicate]
            assert (a.start, a.passes, b.start, b.passes) == ("dip", 2, "noise", None)
            assert a.steps == b.steps == each.at["steps"] and a.replicate == b.replicate == replicate
            assert a.epochs == max(DEFAULT["models"]["hw4-sees"]["epochs"])


def test_as_good_as_names_the_reference_first():
    found = only(A=AS_GOOD)
    (stratum,) = found.rows["hw4-sees"]
    (a,), (b,) = stratum.a[0], stratum.b[0]
    assert (a.sampler, a.nfe, b.sampler, b.nfe) == ("ddim", 10, "ancestral", 1000)


def test_a_saving_has_one_reference_and_its_counts_in_order():
    given = SAVES | {"at": {"model": ["hw4-sees", "hw4"], "steps": [300, 100]}}
    found = only(A=given)
    assert list(found.rows) == ["hw4-sees", "hw4"], "a row a model"
    for strata in found.rows.values():
        assert [each.at["steps"] for each in strata] == [100, 300]
        assert {cell.steps for each in strata for cells in each.b.values() for cell in cells} == {1000}
    (row, _) = claims.asked([found])
    assert row["reference_nfe"] == 1000 and row["counted"] == "steps" and row["kind"] == "saves-steps"


def test_sides_of_different_trainings_are_known_as_such():
    for given, apart in (
        (BETTER, False),
        ({"better": {"epochs": 40}, "than": {"epochs": [10, 20]}, "at": AT}, True),
        ({"better": {"model": "hw4"}, "than": {"model": "hw4-sees"}, "at": {"steps": 5}}, True),
    ):
        assert claims.asked([only(A=given)])[0]["trained_apart"] == apart


def test_a_list_on_a_side_is_pooled():
    given = {"better": {"passes": [1, 2, 3]}, "than": {"passes": [5, 10]}, "at": AT | {"start": "dip", "replicate": 1}}
    found = only(A=given)
    (first, _) = found.rows["hw4-sees"]
    assert list(first.a) == [1] and [cell.passes for cell in first.a[1]] == [1, 2, 3]
    assert [cell.passes for cell in first.b[1]] == [5, 10]


def test_models_on_the_sides_are_one_row():
    given = {"better": {"model": "hw4"}, "than": {"model": "hw4-dip"}, "at": {"epochs": 5, "steps": 5}}
    found = only(A=given)
    assert list(found.rows) == ["hw4 / hw4-dip"]


def test_a_claim_adds_the_cells_that_it_needs():
    without, with_one = asked(), asked(A=BETTER | {"at": {"model": "hw4-sees", "steps": 77}})
    added = set(with_one.cells) - set(without.cells)
    assert added == set(with_one.claims[0].cells) and {cell.steps for cell in added} == {77} and len(added) == 2 * 3


def test_a_claim_about_a_model_that_is_left_out_is_not_asked():
    assert claims.asked([only(S=SAVES)._replace(rows={}, not_asked="why")])[0]["strata"] == []
    left = asked(
        {"models": {"hw4-dip": None}, "experiments": {"dip_in_training": None}},
        A={**BETTER, "at": {"model": "hw4-dip"}},
    )
    assert left.claims[0].not_asked == "the study leaves out the model hw4-dip" and not left.claims[0].cells
    (row,) = claims.asked(left.claims)
    assert row["strata"] == [] and row["not_asked"]
    untrained = BETTER | {"at": AT | {"epochs": 33}}
    assert only(A=untrained).not_asked == "the study does not train hw4-sees for 33 epochs"
    # said before a run: it may be a slip
    says = ["not asked: claims.A, claims.B; the study does not train hw4-sees for 33 epochs"]
    assert claims.not_trained_for(asked(A=untrained, B=untrained, C=BETTER).claims) == says
    timed = BETTER | {"metric": "seconds"}
    assert asked({"timing": None}, A=timed).claims[0].not_asked == "the study times nothing"
    assert only(A=BETTER | {"metric": "path_ratio"}).not_asked == "the study has no interpolation"
    without_labels = only(A=BETTER | {"metric": "recall_rotation"})
    assert without_labels.not_asked == "recall_rotation is of images without labels, and the data set has some"


def test_the_digest_is_of_what_the_verdict_goes_by():
    assert only(A=BETTER).digest == only(B=BETTER | {"statement": "Other words."}).digest
    for config in ({"seeds": {"replicates": [0, 1]}}, {"sampling": {"n": 64}}):
        assert asked(config, A=BETTER).claims[0].digest != only(A=BETTER).digest
    fixed = BETTER | {"at": AT | {"replicate": 0}}  # other replicates are no part of it
    assert asked({"seeds": {"replicates": [0, 1]}}, A=fixed).claims[0].digest == only(A=fixed).digest
    for other in (
        BETTER | {"metric": "coverage"},
        BETTER | {"at": AT | {"steps": [200]}},
        BETTER | {"display": "minmax"},
        BETTER | {"exploratory": True},
    ):
        assert only(A=other).digest != only(A=BETTER).digest


def test_every_sample_is_planned_with_the_claims_it_is_drawn_for_and_is_not_another_job_for_them():
    one, two = asked(A=BETTER), asked(A=BETTER, B=BETTER | {"metric": "coverage"})
    jobs = [{job.name: job for job in plan.plan(each, MACHINE) if job.stage == "sample"} for each in (one, two)]
    path = one.claims[0].cells[0].path
    assert jobs[0][path].hints["claims"] == {"A": one.claims[0].digest}
    assert set(jobs[1][path].hints["claims"]) == {"A", "B"}
    assert jobs[0][path].settings == jobs[1][path].settings and jobs[0].keys() == jobs[1].keys()


def test_a_claim_that_came_or_changed_after_its_samples_is_said():
    drawn = {name: ["x", "y"] for name in ("A", "B", "C")}
    first = {"x": {"A": "1", "B": "2"}, "y": {"A": "1", "B": "2"}}
    said = changed({"A": "1", "B": "9", "C": "3"}, drawn, first)
    assert said["B"].startswith("changed") and said["C"].startswith("added") and len(said) == 2
    first["y"]["C"] = "3"  # a cell of C's own, drawn after C was added
    assert changed({"A": "1", "B": "2", "C": "3"}, drawn, first)["C"].startswith("added")
    assert changed({"A": "1"}, drawn, {}) == {}
    assert changed({"A": "9"}, {"A": ["z"]}, first)["A"].startswith("changed")  # it was of other cells


def drawn_anew(folder, asked):
    """What is said of claims after a run: the ledger's job files, and something drawn where they say so."""
    found = ledger.entries(folder, plan.plan(asked, MACHINE))
    ledger.write(folder, found)
    for entry in found.values():
        if entry.planned.stage in ("sample", "interpolate") and not entry.made:
            job = Job(folder / entry.planned.file, entry.planned.stage)
            files.write_text(job.output(next(iter(entry.planned.outputs))), "images")
            job.finish()
    hints = found["claims", "claims"].content["hints"]
    said = changed(hints["digests"], hints["drawn"], first_claims(folder))
    return {name: what.partition(",")[0].partition(" ")[0] for name, what in said.items()}


def test_claims_are_remembered_as_they_were_first_whatever_is_drawn_anew(tmp_path, monkeypatch):
    def after(claim, n=128, **more):
        return drawn_anew(tmp_path / "results/x", asked({"sampling": {"n": n}} | FEW, A=claim, **more))

    other = BETTER | {"metric": "coverage"}
    assert after(BETTER) == {}
    assert after(BETTER) == {}
    assert after(other) == {"A": "changed"}
    assert after(BETTER) == {}  # as it was
    assert after(BETTER, n=64) == after(BETTER, n=64) == {"A": "changed"}  # all drawn anew
    assert after(BETTER) == {}
    monkeypatch.setattr(code, "digest_of", lambda name: "other")
    code.digests.cache_clear()
    assert after(other) == {"A": "changed"}
    assert after(BETTER, B=other) == {"B": "added"}
    moved = BETTER | {"at": AT | {"steps": 300}}
    assert after(moved) == {"A": "changed"}  # none of its cells was there
    code.digests.cache_clear()


def test_claims_on_ways_between_latents_are_remembered_too(tmp_path, monkeypatch):
    def after(claim, overlay=None, **more):
        return drawn_anew(tmp_path / "results/x", asked(overlay or {}, laid_over(B), A=claim, **more))

    assert after(WAYS) == {}
    assert after(WAYS | {"metric": "largest_share"}) == {"A": "changed"}
    assert after(WAYS, B=WAYS) == {"B": "added"}
    assert after(WAYS, {"sampling": {"n": 64}}) == {}  # they are not of the cells' images
    assert after(WAYS, {"experiments": {"interpolation": {"pairs": 9}}}) == {"A": "changed"}
    monkeypatch.setattr(code, "digest_of", lambda name: "other")
    code.digests.cache_clear()
    assert after(WAYS | {"metric": "largest_share"}) == {"A": "changed"}
    assert after(WAYS) == {}
    code.digests.cache_clear()


def test_what_is_taken_over_from_another_study_keeps_what_was_claimed_of_it_here(tmp_path):
    def after(name, claim, n, reuse=()):
        folder, study_ = tmp_path / "results" / name, asked({"sampling": {"n": n}} | FEW, A=claim)
        if reuse:
            ledger.entries(folder, plan.plan(study_, MACHINE), [tmp_path / "results" / each for each in reuse])
        return drawn_anew(folder, study_)

    other = BETTER | {"metric": "coverage"}
    assert after("old", BETTER, 64) == after("new", BETTER, 64, ["old"]) == {}
    assert after("newer", other, 64, ["old"]) == {"A": "changed"}
    assert after("mine", other, 128) == {}
    assert after("mine", BETTER, 64, ["old"]) == {"A": "changed"}
    assert after("old", BETTER, 64) == {}


MISTAKES = [
    (BETTER | {"better": {"start": "dop"}}, "claims.X.better.start: 'dop' is unknown; did you mean 'dip'?"),
    ({"better": {"start": "dip"}, "at": AT}, "claims.X: better needs than, the side that it is compared with"),
    ({"beter": {"start": "dip"}}, "claims.X: it needs one of better, as-good-as, saves-steps"),
    (BETTER | {"as-good-as": {}}, "claims.X: it needs one of better, as-good-as, saves-steps, not better and "),
    (BETTER | {"marging": 1}, "claims.X: unknown key 'marging'; did you mean 'margin'?"),
    (BETTER | {"margin": 0.1}, "claims.X.margin is 0.1; `better` takes none"),
    (AS_GOOD | {"margin": 1.0, "metric": "recall"}, "claims.X.margin is 1.0; of a metric that is better when high"),
    (SAVES | {"at": SAVES["at"] | {"nfe": 20}}, "claims.X: steps 100 is 20 evaluations; count what is saved"),
    (AS_GOOD | {"margin": 0}, "claims.X.margin: as-good-as needs a margin above 0"),
    (AS_GOOD | {"margin": "half"}, "claims.X.margin is 'half'; it must be a number"),
    (BETTER | {"metric": "fid"}, "claims.X.metric: 'fid' is unknown; known are fd_classifier, energy_classifier, fd"),
    (BETTER | {"display": "clip"}, "claims.X.display: 'clip' is unknown; "),
    (BETTER | {"at": {}}, "claims.X.at: model is missing; known are hw4, hw4-sees"),
    (BETTER | {"at": {"model": "hw9"}}, "claims.X.at.model: 'hw9' is unknown; did you mean 'hw4'?"),
    (BETTER | {"at": AT | {"stpes": 3}}, "claims.X.at: unknown axis 'stpes'; did you mean 'steps'?"),
    (BETTER | {"metric": ["recall"]}, "claims.X.metric is ['recall']; it must be a name"),
    (BETTER | {"at": AT | {"model": {}}}, "claims.X.at.model"),
    (BETTER | {"at": [1]}, "claims.X.at is [1]; it must be a mapping from axes to values"),
    (BETTER | {"than": {"start": "dip"}}, "claims.X: both sides are the same cells"),
    (BETTER | {"exploratory": "yes"}, "claims.X.exploratory is 'yes'; it must be true or false"),
    (SAVES | {"at": AT | {"steps": 300}}, "claims.X.at: saves-steps needs the counts to try as a list"),
    (SAVES | {"against": {"steps": 300}}, "claims.X.at.steps: 300 is no saving against 300"),
    (SAVES | {"at": SAVES["at"] | {"clip_x0": [True, False]}}, "claims.X.at.clip_x0 is a list; saves-steps takes one"),
    ("A4", "claims.X is 'A4'; it must be a mapping"),
    (SAVES | {"metric": "path_ratio"}, "claims.X.metric: path_ratio is of images between two latents, which save no"),
    (BETTER | {"metric": "fid_inception"}, "claims.X.metric: fid_inception has a bias that depends on the images, so"),
    (AS_GOOD | {"margin": 50}, "claims.X.margin is 50; it is a share of the reference, 0.5 for half as much again"),
    (BETTER | {"at": AT | {"start": ["dip", "noise"]}}, "claims.X.at.start is ['dip', 'noise'], but both sides say"),
    ({"better": {"model": "dip"}, "than": {"steps": 5, "model": "hw4"}, "at": {"sampler": ["ddim", "ancestral"]},
      "metric": "noise_path"}, "claims.X.metric: noise_path is of a chain's states, and dip has no chain"),
    (BETTER | {"metric": "noise_path", "display": "minmax"}, "claims.X.display is minmax, but noise_path is of no"),
    (BETTER | {"metric": "seconds", "display": "minmax"}, "claims.X.display is minmax, but seconds is of no display"),
    (BETTER | {"at": AT | {"replicate": [0, 7]}}, "claims.X.at.replicate: 7 is not among seeds.replicates [0, 1, 2]"),
    ({"better": {"start": "dip", "replicate": 0}, "than": {"start": "noise", "replicate": 1}, "at": AT},
     "claims.X: its sides have no replicate in common (0 against 1), and are compared net by net; give both the same"),
    (BETTER | {"better": {"start": "gaussian"}, "at": AT | {"passes": [1, 2]}},
     "claims.X.at: passes 2; steps 200 is the same as passes 1; steps 200; leave one"),
]  # fmt: skip


BETWEEN = [
    (WAYS | {"better": {"model": "dcgan", "start": "dip"}}, "X.better.start: images between two latents have none"),
    (WAYS | {"at": {"nfe": 10}}, "X.at.nfe: images between two latents have none; they have model, replicate, epochs"),
    (WAYS | {"than": {"model": "imvfx", "noise": "shard"}}, "X.than.noise: shard is not drawn by"),
    (WAYS | {"than": {"model": "imvfx", "sampler": "dpmpp-2m"}}, "X.than.sampler: dpmpp-2m is not drawn by"),
    (WAYS | {"at": {"steps": 500}}, "X.at.steps: 500 is not drawn by experiments.interpolation; did you mean '50'? k"),
    (WAYS | {"than": {"model": "imvfx", "epochs": 2}}, "X.than.epochs: 2 is not drawn by experiments.inter"),
    (WAYS | {"at": {"clip_x0": True}}, "X.at.clip_x0: true is not drawn by experiments.interpolation; known are false"),
    (WAYS | {"at": {"path": []}}, "X.at.path is empty: give at least one"),
    (WAYS | {"at": {"replicate": 1}}, "X.at.replicate: 1 is not among seeds.replicates [0]; give one of these"),
    (WAYS | {"better": {"model": "dip"}}, "X.better.model: dip is not drawn by experiments.interpolation; known"),
    (WAYS | {"than": {"model": "dcgan"}}, "X: both sides are the same images; name what tells them apart"),
    (WAYS | {"than": {"model": "dcgan", "sampler": "ddim"}}, "X: both sides are the same images; name what tells them"),
    (WAYS | {"than": {"model": "imvfx", "sampler": "ddim", "steps": 1000}}, "X: experiments.interpolation draws"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "says"), BETWEEN)
def test_a_mistake_in_a_claim_on_ways_between_latents_is_named(given, says):
    with pytest.raises(UserError) as caught:
        asked(base=laid_over(B), X=given)
    assert f"config: claims.{says}" in str(caught.value)


def test_one_side_may_lie_over_a_list_in_at_and_both_over_a_single_value():
    found = only(A=BETTER | {"than": {"start": "noise", "steps": 1000}})
    assert [{cell.steps for own in each.b.values() for cell in own} for each in found.rows["hw4-sees"]] == [{1000}] * 2
    only(A=BETTER | {"at": AT | {"start": "oracle"}})


@pytest.mark.parametrize(("given", "says"), MISTAKES)
def test_a_mistake_in_a_claim_is_named(given, says):
    with pytest.raises(UserError) as caught:
        asked(X=given)
    assert says in str(caught.value) and str(caught.value).startswith("config: ")


def test_all_mistakes_in_claims_are_said_at_once():
    with pytest.raises(UserError) as caught:
        asked(X=AS_GOOD | {"margin": 0}, Y=BETTER | {"metric": "fd"})
    assert len(str(caught.value).splitlines()) == 2


def test_the_studies_name_every_claim_of_both_written_studies():
    names = {name.partition("-")[0] for name in DEFAULT["claims"]}
    assert names >= {f"A{index}" for index in range(1, 10)} | {"B1", "B2"}
    assert {given.get("metric", "fd_classifier") for given in DEFAULT["claims"].values()} <= MEASURES.keys()
    for file in ("mnist-test.yaml", "mnist-test-published.yaml"):
        config = laid_over(yaml.safe_load((ROOT / "studies" / file).read_text()))
        assert len([claim for claim in study.read(config).claims if not claim.not_asked]) >= 10


def test_a_claim_names_what_its_side_is_compared_with():
    rows = {row["claim"]: row for row in claims.asked(study.read(copy.deepcopy(DEFAULT)).claims)}
    assert rows["A4"]["against"] == "DDPM, x0 clipped"
    assert rows["A7"]["against"] == "epochs 10, 20"  # both sides are of one arm
    assert rows["A5"]["against"] == "DDPM, x0 clipped, 1000 evaluations"
    assert rows["cut-short"]["arm"] == rows["cut-short"]["reference_arm"] == "DDPM, x0 clipped"


def compared(*cells, arm, steps=1000):
    """Start -> what an arm is compared with among cells: its path's last part, and its K."""
    found = claims.pairs([*cells, arm], {"m": steps}, "fd_classifier")
    mine = {axis: value for axis, value in arm._asdict().items() if axis != "replicate"}
    of_arm = [pair for pair in found if pair["axes"] == mine]
    assert all(pair["a"] == {"0": [arm.path]} and pair["metric"] == "fd_classifier" for pair in of_arm)
    assert sorted(pair["display"] for pair in of_arm) == sorted([*DISPLAYS] * (len(of_arm) // len(DISPLAYS)))
    return {pair["against"]: (pair["b"]["0"][0].partition("ema/")[2], pair["against_steps"]) for pair in of_arm}


def chain(start, steps, clip=False, sampler="ancestral", nfe=None, passes=None):
    return Cell("m", 0, 1, "ema", start, passes, sampler, clip, steps, nfe or steps)


def test_an_arm_is_compared_with_the_starts_that_cost_nothing_at_its_own_k():
    noise, gaussian = chain("noise", 200), chain("gaussian", 200)
    others = [noise, gaussian, chain("gaussian", 700), chain("noise", 1000)]
    ours = {"noise": ("noise/ancestral/K0200-nfe0200", 200), "gaussian": ("gaussian/ancestral/K0200-nfe0200", 200)}
    assert compared(*others, arm=chain("dip", 200, passes=2)) == ours
    assert compared(*others, arm=chain("dip", 200, sampler="ddim", nfe=5, passes=2)) == ours
    clipped = [chain("noise", 200, clip=True), chain("gaussian", 200, clip=True)]
    assert set(compared(*others, *clipped, arm=chain("dip", 200, clip=True)).values()) == {
        ("noise/ancestral-clip/K0200-nfe0200", 200),
        ("gaussian/ancestral-clip/K0200-nfe0200", 200),
    }
    assert compared(*others, arm=chain("dip", 200, clip=True)) == ours  # not clipped, where no other was run
    assert compared(*others[1:], arm=noise) == {"gaussian": ours["gaussian"]}
    assert compared(noise, *others[2:], arm=gaussian) == {"noise": ours["noise"]}
    assert compared(*others, arm=chain("dip", 300)) == {}
    assert compared(*others, arm=chain("noise", 200, nfe=20)) == ours  # the same sampler with fewer evaluations
    assert compared(*others, arm=chain("gaussian", 200, nfe=20)) == ours


def test_an_arm_of_the_whole_chain_is_compared_with_the_longest_from_a_gaussian():
    others = [
        chain("noise", 1000),
        *(chain("gaussian", k, clip) for k, clip in ((200, True), (700, False), (500, False))),
    ]
    few = chain("noise", 1000, sampler="ddim", nfe=10)
    free = {"gaussian": ("gaussian/ancestral/K0700-nfe0700", 700)}
    assert compared(*others, arm=few) == {"noise": ("noise/ancestral/K1000-nfe1000", 1000)} | free
    assert compared(*others, arm=few._replace(clip_x0=True))["gaussian"] == (
        "gaussian/ancestral-clip/K0200-nfe0200",
        200,
    )
    assert compared(*others[1:], arm=chain("noise", 1000)) == free
    assert compared(*others, arm=chain("noise", 1000, clip=True, nfe=20))["noise"] == (
        "noise/ancestral/K1000-nfe1000",
        1000,
    )
    assert "noise" not in compared(*others, arm=chain("noise", 1000, clip=True))  # differs in clipping alone
    assert "gaussian" not in compared(*others, arm=chain("gaussian", 1000))
    assert (
        compared(*others, arm=chain("noise", 600, sampler="ddim", nfe=10)) == {}
    )  # no K of its own, nor the whole chain
    assert compared(*others, arm=few, steps=2000).keys() == {"noise"}  # which is longer here
    respaced = chain("gaussian", 700, sampler="ancestral-small", nfe=20)
    assert compared(respaced, others[0], arm=few).keys() == {"noise"}  # a chain of few evaluations is no reference
    assert compared(others[0], arm=few).keys() == {"noise"}


# ---------------------------------------------------------------- in words


def speedup(**values):
    base = {
        "claim": "A5",
        "model": "hw4",
        "arm": "start dip",
        "against": "DDPM",
        "axis": "steps",
        "reference": 1000,
        "k_hi": 200,
    }
    base |= {"k_lo": 100, "nfe_ratio_low": 5.0, "nfe_ratio_high": 10.0, "seconds_ratio": np.nan, "verdict": "supported"}
    return base | {"trail": '[{"count": 100}, {"count": 500}]'} | values


def claim_row(**values):
    base = {"claim": "A5", "model": "hw4", "verdict": "supported", "margin": 0.5, "replicates": 3, "n": 256}
    base |= {"metric": "fd_classifier", "exploratory": False, "note": "", "scope": "this way of training", "mde": 1.0}
    base |= {"estimate": -2.0, "ci_low": -3.0, "ci_high": -1.0, "bound_low": -2.8, "bound_high": -1.2}
    base |= {
        "difference": 3.0,
        "difference_low": 2.2,
        "difference_high": 3.8,
    }  # -2 + 0.5 x 10, with a spread of its own
    base |= {"against": "DDPM", "display": "clamp"}
    return base | {"reference": 10.0, "p": 0.01, "p_holm": 0.04, "parts": '[{"at": {"steps": 200}}]'} | values


def test_the_headline_says_what_came_out():
    table = pd.DataFrame([speedup()])

    def headline(**values):
        return told.headline(table, pd.DataFrame([claim_row(**values)]), "digits")

    assert headline() == (
        "On digits (hw4): start dip does as well as all 1000 steps from K = 200 on (between 5.0 and 10 times fewer). "
        "(As good: at most 50 % farther than the whole chain; 3 nets.)"
    )
    assert headline(note=ALONE).endswith(
        "fewer) – taken alone. (Taken alone: not after Holm's correction for all claims. As good: at most 50 % farther "
        "than the whole chain; 3 nets.)"
    )
    assert headline(display="minmax").endswith("than the whole chain; 3 nets; minmax display.)")
    assert "– exploratory, changed" in headline(exploratory=True, note="a way; changed after its first sample")
    none = told.saved(speedup(verdict="refuted", k_hi=np.nan))
    assert none == (
        "start dip saves no steps as far as was tried (K = 500, the largest tried, is worse than all 1000 steps; any "
        "saving is below 2.0 times)"
    )
    rival = told.saved(speedup(arm="DDIM, x0 clipped", axis="nfe", verdict="refuted", k_hi=np.nan))
    assert "500 evaluations, the most tried, are worse than all 1000 steps not clipped; any saving" in rival
    assert told.saved(speedup(arm="DDPM")).startswith("DDPM cut short does as well as all 1000 steps from K = 200")
    assert told.saved(speedup(verdict="inconclusive")) == "whether start dip saves steps is not decided"
    row = speedup(axis="nfe", k_hi=10, nfe_ratio_low=100.0, nfe_ratio_high=np.nan, seconds_ratio=80.0)
    assert told.saved(row) == (
        "start dip does as well as all 1000 steps with 10 evaluations (100 or more times fewer, 1.25 % of the time)"
    )
    assert "no claims" in told.headline(None, None, "digits")


def test_the_headline_says_once_what_is_said_of_several_and_names_the_reference_where_an_arm_has_two():
    both = [(number, arm) for number in (1, 2) for arm in ("DDIM", "DPM")]
    rows = [speedup(claim=f"{number} {arm}", arm=arm, verdict="refuted", k_hi=np.nan) for number, arm in both]
    rows += [
        speedup(claim=f"{name}-too", arm=name, against="other", verdict="inconclusive") for name in ("DDIM", "DIP")
    ]
    claims = pd.DataFrame([claim_row(claim=row["claim"], verdict=row["verdict"]) for row in rows])
    text = told.headline(pd.DataFrame(rows), claims, "digits")
    assert (
        "On digits (hw4): DDIM and DPM save no steps as far as was tried (K = 500, the largest tried, is worse" in text
    )
    lines = told.clauses(text)
    assert " ".join(lines) == text and lines[0].endswith("below 2.0 times);")
    assert lines[1:] == [
        "against other, whether DDIM saves steps is not decided;",
        "whether DIP saves steps is not decided.",
        "(As good: at most 50 % farther than the whole chain, worse: by more; 3 nets.)",
    ]


def test_a_side_is_told_as_its_difference_from_its_reference():
    def told_of(**values):
        return list(told.share(claim_row(**values)).values())

    assert told_of() == pytest.approx([0.3, 0.22, 0.38, -0.12, 0])  # D = a - 1.5 b = -2, b = 10: a = 13
    assert told_of(verdict="refuted")[3] == pytest.approx(-0.28)
    high = {"metric": "coverage", "margin": 0.2, "estimate": 0.1, "ci_low": 0.0, "ci_high": 0.2, "reference": 0.5}
    high |= {"bound_low": 0.02, "bound_high": 0.18}
    high |= {"difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
    assert told_of(**high) == pytest.approx([-0.4, -0.6, -0.2, -0.36, 0])  # D = 0.8 b - a = 0.1: a = 0.3
    logs = {"difference": 0.5, "difference_low": 0.4, "difference_high": 0.6, "bound_high": 0.59}
    time = {"metric": "seconds", "margin": 0.0} | {name: np.log(value) for name, value in logs.items()}
    assert told_of(**time, reference=1.0) == pytest.approx([0.5, 0.4, 0.6, 0.59, 1.0])
    assert told.share(claim_row(difference=np.nan)) is None and told.share(claim_row(reference=0.0)) is None


def test_evidence_names_the_bound_that_decides_and_what_an_open_claim_would_take():
    text = told.evidence(claim_row())
    assert text.startswith(
        "FD at K = 200 +30 % against that of DDPM "
        "(95 %: +22 % to +38 %; with the margin of 50 %, one-sided bound -12 %, which is to be below 0 %)"
    )
    assert told.evidence(claim_row(display="minmax")).startswith("FD (minmax) at K = 200 +30 %")
    assert "one-sided bound -28 %, not below the 0 % it needs" in told.evidence(claim_row(verdict="refuted"))
    better = told.evidence(claim_row(margin=0.0, bound_high=-0.5))
    assert "(95 %: +22 % to +38 %; one-sided bound -5.0 %, which is to be below 0 %)" in better
    several = json.dumps([{"at": {"steps": k, "clip_x0": True}, "estimate": e} for k, e in ((200, 0.1), (500, None))])
    assert "that of DDPM, the mean over K = 200 (+60 %) and K = 500 (–) (95 %:" in told.evidence(
        claim_row(parts=several)
    )
    assert "by the means over K = 200" in told.evidence(claim_row(parts=several, metric="coverage"))
    timed = {"metric": "seconds", "margin": 0.05, "difference": 0.02, "reference": 1.0}
    assert "1.02 times that of DDPM" in told.evidence(claim_row(**timed))
    undecided = claim_row(verdict="inconclusive", bound_high=0.5)
    assert "with 80 % power it would be supported from +40 % down" in told.evidence(undecided)  # 50 % less 1 of 10
    assert "not even a distance of zero would be seen to support it" in told.evidence(undecided | {"mde": 15.1})
    high = undecided | {"metric": "coverage", "margin": 0.0, "reference": 0.5, "mde": 0.1}
    assert "with 80 % power it would be supported from +20 % up" in told.evidence(high)
    disagrees = claim_row(verdict="inconclusive", note="energy_classifier points the other way")
    assert "power" not in told.evidence(disagrees) and "points the other way" in told.evidence(disagrees)


def test_a_tie_is_said_to_be_one():
    row = {"estimate": 0.2, "ci_low": -0.5, "ci_high": 0.9, "reference": 4.0, "word": "tie"}
    assert told.against(row) == "tie: +5 % (-12 to +22)"
    longest = row | {"word": "worse", "steps": 1000, "against_steps": 500}
    assert told.against(longest) == "worse: +5 % against K = 500 (-12 to +22)"
    undecided = row | {"word": "undecided", "note": "n = 64; a verdict needs 128 images"}
    assert told.against(undecided).endswith("; n = 64; a verdict needs 128 images")
    assert told.against(None) == "–"
