"""Claims: statements with their contrast, margin and metric, fixed in the configuration before numbers exist.

    claims:
      A4: { better: { start: dip }, than: { start: noise }, at: { model: hw4-sees, steps: [200, 500] } }
      fast: { as-good-as: { steps: 1000 }, is: { nfe: 10, sampler: ddim }, at: { model: hw4-sees }, margin: 0.5 }
      A5: { saves-steps: { start: dip }, against: { steps: 1000 }, at: { model: hw4, steps: [100, 300] }, margin: 0.5 }

Each of the two sides is a grid laid over `at`. A list on a side is pooled, one in `at` is a stratum each, and models in
`at` are a row each.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..evaluation.displays import DISPLAYS
from ..evaluation.measures import BIASED, MEASURES, OF_INTERPOLATION, OF_LABELS, OF_NO_LABELS, OF_NOISE, OF_TIMING
from ..jobs.errors import UserError, nearest
from ..report import labels
from . import grid, ways
from .axes import AXES, Cell
from .grid import as_list

KINDS = {"better": "than", "as-good-as": "is", "saves-steps": "against"}  # a claim's kind -> the key of its other side
OPTIONS = ("statement", "at", "margin", "metric", "display", "exploratory")
COUNTED = ("nfe", "steps")  # what a saving is counted in
WAY = tuple(axis for axis in ways.AXES if axis not in AXES)  # axes of ways between latents alone
OPEN = {"samplers": "sampler", "noise": "noise", "paths": "path"}  # what of an interpolation a claim may say -> as what
MOST_MARGIN = 10  # beyond it, a percentage is meant
UNTRAINED = "the study does not train"


class Stratum(NamedTuple):
    """Cells that are compared with each other: those of each side by replicate. at: the stratum's values, by axis.

    For a metric of interpolations, a cell is {key of a way: value} instead.
    """

    at: dict
    a: dict[int, list]
    b: dict[int, list]


class Claim(NamedTuple):
    """A claim, checked.

    kind: a key of KINDS; a, b: the side that is to be better and the reference, as they are given; counted: what a
    saving is counted in, a key of COUNTED; rows: model -> strata, in the order of `at`, none where the study leaves a
    model out; digest: of all that its verdict goes by; not_asked: why it has no rows.
    """

    name: str
    statement: str
    kind: str
    a: dict
    b: dict
    at: dict
    margin: float
    metric: str
    display: str
    exploratory: bool
    counted: str | None
    rows: dict[str, list[Stratum]]
    digest: str
    not_asked: str = ""

    @property
    def cells(self) -> list[Cell]:
        """Every cell that it needs."""
        if self.metric in OF_INTERPOLATION:
            return []
        sides = [side for strata in self.rows.values() for stratum in strata for side in (stratum.a, stratum.b)]
        return list(dict.fromkeys(cell for side in sides for cells in side.values() for cell in cells))


def digest(claim: dict, config: dict) -> str:
    """Of what a claim's verdict goes by: all but its words. How many nets and images there are is part of it."""
    content = {key: value for key, value in claim.items() if key != "statement"}
    if claim.get("metric") in OF_INTERPOLATION:
        content |= {"interpolation": pooled(claim, config["experiments"].get("interpolation") or {})}
    else:
        content |= {"n": config["sampling"]["n"]}
    if not any("replicate" in part for part in claim.values() if isinstance(part, dict)):
        content |= {"replicates": config["seeds"]["replicates"]}
        asked = {model for part in claim.values() if isinstance(part, dict) for model in as_list(part.get("model"))}
        nets = {model: len(grid.replicates_of(config, model)) for model in asked if grid.is_given(config, model)}
        content |= {"nets": nets} if nets else {}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def pooled(claim: dict, interpolation: dict) -> dict:
    """What a verdict on ways between latents goes by beside the claim: their number, and what it leaves open."""
    said = {axis for part in claim.values() if isinstance(part, dict) for axis in part}
    named = {"models"} | {key for key, axis in OPEN.items() if axis in said}
    return {key: value for key, value in interpolation.items() if key not in named}


def read(config: dict, labelled: bool, left_out: set[str]) -> list[Claim]:
    """The claims of a configuration, in its order.

    left_out: models that an overlay set to null. A claim about one is not asked, nor one about an epoch budget that is
    not there. Raises UserError, naming the key, for what is wrong in one.
    """
    return [claim(config, name, given, labelled, left_out) for name, given in config["claims"].items()]


def claim(config: dict, name: str, given: dict, labelled: bool, left_out: set[str]) -> Claim:
    key = f"claims.{name}"
    kind, first, second = sides(key, given)
    # in the axes' order: how a configuration was merged is no part of a claim
    first, second, at = (
        {axis: side[axis] for axis in (*AXES, *WAY) if axis in side} for side in (first, second, given.get("at", {}))
    )
    a, b = (second, first) if kind == "as-good-as" else (first, second)
    metric = given.get("metric", "fd_classifier" if labelled else "fd_rotation")
    check_metric(key, kind, metric)
    display = given.get("display", "clamp")
    if display not in DISPLAYS:
        raise UserError(f"{key}.display: {display!r} is unknown; {nearest(display, DISPLAYS)}")
    if display != "clamp" and metric in OF_NOISE | OF_TIMING:
        raise UserError(f"{key}.display is {display}, but {metric} is of no display; leave it out")
    margin = margin_of(key, kind, given, MEASURES[metric])
    words = given.get("statement", "")
    named = [model for side in (a, b) for model in as_list(side.get("model", at.get("model")))]
    if None in named:
        raise UserError(f"{key}.at: model is missing; {nearest('', grid.choices(config)['model'])}")
    gone = [model for model in named if model in left_out]
    if twice := [axis for axis in at if len(as_list(at[axis])) > 1 and axis in a and axis in b]:
        raise UserError(
            f"{key}.at.{twice[0]} is {at[twice[0]]}, but both sides say {twice[0]} themselves, so that each value "
            "would be the same contrast again; leave it out of at, or of a side"
        )
    counted = None if kind != "saves-steps" else counted_axis(key, at)
    made = Claim(
        name,
        words,
        kind,
        a,
        b,
        at,
        margin,
        metric,
        display,
        given.get("exploratory", False),
        counted,
        {},
        digest(given, config),
    )
    why = f"the study leaves out the model {gone[0]}" if gone else ""
    why = why or untrained(config, [at | side for side in (a, b)])
    if not labelled and metric in OF_LABELS:
        why = why or f"{metric} is of a classifier, and the data set has no labels"
    if labelled and metric in OF_NO_LABELS:
        why = why or f"{metric} is of images without labels, and the data set has some"
    if metric in OF_TIMING and not config["timing"]:
        why = why or "the study times nothing"
    if metric in OF_INTERPOLATION and not config["experiments"].get("interpolation"):
        why = why or "the study has no interpolation"
    if why:
        return made._replace(not_asked=why)
    for part, side in ((kind, first), (KINDS[kind], second), ("at", at)):
        check_side(config, f"{key}.{part}", metric, side)
    return made._replace(rows=rows(config, key, made))


def check_metric(key: str, kind: str, metric: str) -> None:
    """Whether a verdict of this kind can rest on the metric."""
    known = [name for name in MEASURES if name not in BIASED]
    if metric in BIASED:
        raise UserError(
            f"{key}.metric: {metric} has a bias that depends on the images, so no verdict can rest on it; known are "
            f"{', '.join(known)}"
        )
    if metric not in MEASURES:
        raise UserError(f"{key}.metric: {metric!r} is unknown; {nearest(metric, known)}")
    if kind == "saves-steps" and metric in OF_INTERPOLATION:
        raise UserError(
            f"{key}.metric: {metric} is of images between two latents, which save no steps; right is a metric of "
            "cells, or better or as-good-as"
        )


def check_side(config: dict, key: str, metric: str, side: dict) -> None:
    """What is said of a side, or of both, against what the study has: its replicates, and between latents its ways."""
    every = config["seeds"]["replicates"]
    if wrong := [replicate for replicate in as_list(side.get("replicate", [])) if replicate not in every]:
        raise UserError(f"{key}.replicate: {wrong[0]} is not among seeds.replicates {every}; give one of these")
    drawn = ways.drawn(config).values()
    for axis, values in side.items() if metric in OF_INTERPOLATION else ():
        if not as_list(values):
            raise UserError(f"{key}.{axis} is empty: give at least one")
        if axis not in ways.AXES:
            raise UserError(f"{key}.{axis}: images between two latents have none; they have {', '.join(ways.AXES)}")
        known = dict.fromkeys(plain(names[axis]) for names in drawn if names[axis] is not None)
        if wrong := [value for value in map(plain, as_list(values)) if value not in known]:
            right = nearest(wrong[0], known) if known else "leave it out"
            raise UserError(f"{key}.{axis}: {wrong[0]} is not drawn by experiments.interpolation; {right}")


def untrained(config: dict, sides: list[dict]) -> str:
    """Why a side asks for an epoch budget that the study does not have; "" where none does."""
    for side in sides:
        for model, epochs in itertools.product(as_list(side["model"]), as_list(side.get("epochs", "all"))):
            own = config["models"].get(model, {}).get("epochs")
            if own is not None and epochs != "all" and epochs not in own:
                return f"{UNTRAINED} {model} for {epochs} epochs"
    return ""


def not_trained_for(claims: list[Claim]) -> list[str]:
    """What to say before a run of claims that it will not ask, as they want an epoch budget that it does not have.

    That is no mistake where a study has other budgets than the claims that it takes from config.yaml.
    """
    reasons: dict[str, list[str]] = {}
    for made in claims:
        if made.not_asked.startswith(UNTRAINED):
            reasons.setdefault(made.not_asked, []).append(f"claims.{made.name}")
    return [f"not asked: {', '.join(names)}; {reason}" for reason, names in reasons.items()]


def sides(key: str, given: dict) -> tuple[str, dict, dict]:
    """A claim's kind and its two sides in the order of its keys."""
    found = [kind for kind in KINDS if kind in given]
    if len(found) != 1:
        raise UserError(f"{key}: it needs one of {', '.join(KINDS)}" + f", not {' and '.join(found)}" * bool(found))
    kind, other = found[0], KINDS[found[0]]
    known = [kind, other, *OPTIONS]
    if unknown := [name for name in given if name not in known]:
        raise UserError(f"{key}: unknown key {unknown[0]!r}; {nearest(unknown[0], known)}")
    if other not in given:
        raise UserError(f"{key}: {kind} needs {other}, the side that it is compared with: {other}: {{ start: noise }}")
    for name in (kind, other, "at"):
        if not isinstance(given.get(name, {}), dict):
            raise UserError(f"{key}.{name} is {given[name]!r}; it must be a mapping from axes to values")
    options = {"statement": (str, "text"), "metric": (str, "a name"), "display": (str, "a name")}
    for name, (right, what) in (options | {"exploratory": (bool, "true or false")}).items():
        if name in given and not isinstance(given[name], right):
            raise UserError(f"{key}.{name} is {given[name]!r}; it must be {what}")
    return kind, given[kind], given[other]


def grids(given: dict, of_ways: bool) -> Iterator[tuple[str, dict]]:
    """A claim's two sides and `at`, each with its key, without what is no axis of a cell."""
    kind = next(kind for kind in KINDS if kind in given)
    for name in (kind, KINDS[kind], "at"):
        yield name, {axis: value for axis, value in given.get(name, {}).items() if not (of_ways and axis in WAY)}


def margin_of(key: str, kind: str, given: dict, lower_is_better: bool) -> float:
    margin = given.get("margin", 0)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < float("inf"):
        raise UserError(f"{key}.margin is {margin!r}; it must be a number, 0.5 for half of the reference's distance")
    if kind == "better" and margin:
        raise UserError(f"{key}.margin is {margin}; `better` takes none: leave it out, or ask for as-good-as")
    if kind != "better" and not margin:
        raise UserError(f"{key}.margin: {kind} needs a margin above 0: how much worse still counts as as good")
    if not lower_is_better and margin >= 1:
        raise UserError(f"{key}.margin is {margin}; of a metric that is better when high it must be below 1, all of it")
    if margin > MOST_MARGIN:
        raise UserError(
            f"{key}.margin is {margin}; it is a share of the reference, 0.5 for half as much again, and at most "
            f"{MOST_MARGIN}"
        )
    return float(margin)


def counted_axis(key: str, at: dict) -> str:
    lists = [axis for axis in COUNTED if isinstance(at.get(axis), list)]
    if len(lists) != 1:
        raise UserError(f"{key}.at: saves-steps needs the counts to try as a list: steps: [...] or nfe: [...]")
    return lists[0]


def rows(config: dict, key: str, made: Claim) -> dict[str, list[Stratum]]:
    """Model -> strata. Raises UserError for sides that cannot be compared, and for counts that are no saving."""
    drawn = ways.drawn(config) if made.metric in OF_INTERPOLATION else None
    found: dict[str, list[Stratum]] = {}
    for values in itertools.product(*map(as_list, made.at.values())):
        point = dict(zip(made.at, values, strict=True))
        of_reference = {axis: value for axis, value in point.items() if axis != made.counted}
        sides = point | made.a, of_reference | made.b
        a, b = (cells(config, key, side) if drawn is None else ways_of(config, side) for side in sides)
        check_contrast(key, made.metric, a, b, drawn)
        model = " / ".join(dict.fromkeys(" + ".join(map(str, as_list(side["model"]))) for side in sides))
        at = {axis: value for axis, value in point.items() if axis not in ("model", "replicate")}
        found.setdefault(model, []).append(Stratum(at, a, b))
    for strata in found.values():
        if made.counted:
            strata.sort(key=lambda s: s.at[made.counted])
            check_saving(key, made, strata)
        for one, other in itertools.combinations(strata, 2):
            if (one.a, one.b) == (other.a, other.b):
                raise UserError(f"{key}.at: {spelled(other.at)} is the same as {spelled(one.at)}; leave one out")
    found = {model: merged(strata) for model, strata in found.items()}
    for strata in found.values():
        check_replicates(key, strata)
    return found


def check_contrast(key: str, metric: str, a: dict[int, list], b: dict[int, list], drawn: dict | None) -> None:
    """Whether two sides are there and differ. drawn: what is drawn between latents, where they are ways."""
    without = [cell.model for side in (a, b) for own in side.values() for cell in own
               if metric in OF_NOISE and cell.steps is None]  # fmt: skip
    if without:
        raise UserError(f"{key}.metric: {metric} is of a chain's states, and {without[0]} has no chain; take noise_mad")
    if drawn is not None:
        a, b = (images(key, side, drawn) for side in (a, b))
    if a == b:
        what = "cells" if drawn is None else "images"
        raise UserError(f"{key}: both sides are the same {what}; name what tells them apart")


def images(key: str, side: dict[int, list[dict]], drawn: dict[str, dict]) -> dict[int, list[str]]:
    """Replicate -> the paths of what is drawn of a side's ways. Raises UserError where that is nothing."""
    found = {}
    for replicate, asked in side.items():
        found[replicate] = [path for way in asked for path in ways.asked_for(drawn, replicate, way)]
        if not found[replicate]:
            raise UserError(f"{key}: experiments.interpolation draws nothing that is {spelled(asked[0])}; ask for less")
    return found


def check_replicates(key: str, strata: list[Stratum]) -> None:
    """Whether there is a replicate that both sides have, in all strata."""
    if not set.intersection(*(s.a.keys() & s.b.keys() for s in strata)):
        one, other = (", ".join(map(str, side)) for side in (strata[0].a, strata[0].b))
        raise UserError(
            f"{key}: its sides have no replicate in common ({one} against {other}), and are compared net by net; give "
            "both the same"
        )


def cells(config: dict, key: str, asked: dict) -> dict[int, list[Cell]]:
    found: dict[int, list[Cell]] = {}
    for cell in grid.expand(config, asked, key):
        found.setdefault(cell.replicate, []).append(cell)
    return found


def between(made: Claim, drawn: dict[str, dict]) -> list[str]:
    """The paths of what is drawn between latents that a claim asks for. drawn: as `ways.drawn` returns it."""
    if made.metric not in OF_INTERPOLATION:
        return []
    sides = [side for strata in made.rows.values() for stratum in strata for side in (stratum.a, stratum.b)]
    found = [images(made.name, side, drawn) for side in sides]
    return list(dict.fromkeys(path for side in found for paths in side.values() for path in paths))


def ways_of(config: dict, asked: dict) -> dict[int, list[dict]]:
    """Replicate -> the ways between latents that are meant, as mappings of what is said of them."""
    said = {name: value for name, value in asked.items() if name != "replicate"}
    every = [replicate for model in as_list(asked["model"]) for replicate in grid.replicates_of(config, model)]
    replicates = as_list(asked.get("replicate", sorted(set(every))))
    return {replicate: [said] for replicate in replicates}


def check_saving(key: str, made: Claim, strata: list[Stratum]) -> None:
    reference = {cell.nfe for cells in strata[0].b.values() for cell in cells}
    if len(reference) != 1 or None in reference:
        raise UserError(f"{key}.against: a saving is counted from one reference with a chain, such as steps: 1000")
    most = max(reference)
    for stratum in strata:
        count = stratum.at[made.counted]
        if wrong := [cell.nfe for cells in stratum.a.values() for cell in cells if cell.nfe != count]:
            raise UserError(
                f"{key}: {made.counted} {count} is {wrong[0]} evaluations; count what is saved, by nfe: [...]"
            )
    if wrong := [stratum.at[made.counted] for stratum in strata if stratum.at[made.counted] >= most]:
        raise UserError(f"{key}.at.{made.counted}: {wrong[0]} is no saving against {most}; give counts below it")
    if twice := [axis for axis in made.at if axis not in ("model", "replicate", made.counted) and
                 isinstance(made.at[axis], list)]:  # fmt: skip
        raise UserError(f"{key}.at.{twice[0]} is a list; saves-steps takes one, of {made.counted}")


def merged(strata: list[Stratum]) -> list[Stratum]:
    """Strata that differ in their replicates alone, as one."""
    found: list[Stratum] = []
    for stratum in strata:
        same = next((each for each in found if each.at == stratum.at), None)
        if same is None:
            found.append(stratum)
            continue
        for mine, other in ((same.a, stratum.a), (same.b, stratum.b)):
            for replicate, more in other.items():
                mine[replicate] = list(dict.fromkeys([*mine.get(replicate, []), *more]))
    return found


def contrast(made: Claim) -> str:
    """What is compared with what, in words as a grid spells it."""
    joint = {"better": "better than", "as-good-as": "as good as", "saves-steps": "saves steps against"}[made.kind]
    text = f"{spelled(made.a)} {joint} {spelled(made.b)}"
    at = {axis: value for axis, value in made.at.items() if axis != "model"}
    return text + (f", at {spelled(at)}" if at else "")


def spelled(values: dict) -> str:
    parts = [f"{axis} {', '.join(map(plain, as_list(value)))}" for axis, value in values.items()]
    return "; ".join(parts) or "the usual"


def plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def asked(claims: list[Claim]) -> list[dict]:
    """What `evaluation.verdicts.judge` takes: a mapping a claim and model, cells by their paths."""
    found = []
    for made in claims:
        shared = {"claim": made.name, "statement": made.statement or contrast(made), "contrast": contrast(made)}
        shared |= {
            name: getattr(made, name) for name in ("kind", "metric", "display", "margin", "exploratory", "counted")
        }
        arm, other = arm_of(made, "a", made.a), arm_of(made, "b", made.b)
        shared |= {"arm": arm, "reference_arm": other, "against": spelled(made.b) if other == arm else other}
        shared |= {"not_asked": made.not_asked, "trained_apart": trained_apart(made)}
        for model, strata in made.rows.items() or [("", [])]:
            of_reference = strata[0].b.values() if made.counted and strata else ()
            reference = max((cell.nfe for cells in of_reference for cell in cells), default=0)
            own = {"model": model, "reference_nfe": reference, "strata": [by_path(each) for each in strata]}
            found.append(shared | own | ({"against": f"{other}, {reference} evaluations"} if reference else {}))
    return found


def trained_apart(made: Claim) -> bool:
    """Whether its sides are of different trainings: then it is about training, and one net of each says little."""

    def trainings(side: dict[int, list]) -> set:
        return {
            (each.model, each.epochs) if isinstance(each, Cell) else each["model"]
            for own in side.values()
            for each in own
        }

    return any(trainings(s.a) != trainings(s.b) for strata in made.rows.values() for s in strata)


def arm_of(made: Claim, side: str, asked: dict) -> str:
    """A side in words: its arm, where all of its cells have one."""
    arms = {labels.arm(cell._asdict()) for strata in made.rows.values() for s in strata
            for cells in getattr(s, side).values() for cell in cells if isinstance(cell, Cell)}  # fmt: skip
    return arms.pop() if len(arms) == 1 else spelled(asked)


def by_path(stratum: Stratum) -> dict:
    def paths(side: dict[int, list]) -> dict[str, list]:
        return {
            str(rep): [each.path if isinstance(each, Cell) else each for each in cells] for rep, cells in side.items()
        }

    return {"at": stratum.at, "a": paths(stratum.a), "b": paths(stratum.b)}


def contrasts(claims: list[Claim]) -> list[dict]:
    """Which cells a claim sets against which: claim, model and strata, pairs of lists of paths."""
    found = []
    for made in claims:
        for model, strata in made.rows.items() if made.cells else ():
            sides = [
                [[cell.path for cell in side[rep]] for side in (s.a, s.b)]
                for s in strata
                for rep in s.a.keys() & s.b.keys()
            ]
            found.append({"claim": made.name, "model": model, "strata": sides})
    return found


def pairs(cells: list[Cell], timesteps: dict[str, int], metric: str) -> list[dict]:
    """Each arm with the starts noise and gaussian, as `evaluation.verdicts.differences` takes them.

    timesteps: how many each model was trained on. An arm is compared with the start at its own sampler, K and
    evaluations; where that was not run, with the ancestral chain of all evaluations at the same K. A Gaussian is a
    start of a chain that is cut short: an arm of the whole chain is compared with the longest such chain from it.
    """
    arms: dict[Cell, dict[int, str]] = {}
    for cell in cells:
        if cell.start is not None:
            arms.setdefault(cell._replace(replicate=None), {})[cell.replicate] = cell.path
    found = []
    for arm in arms:
        longest = longest_from_gaussian(arm, arms, timesteps[arm.model]) if arm.steps == timesteps[arm.model] else []
        rivals = {"noise": likes(arm, "noise"), "gaussian": [*likes(arm, "gaussian"), *longest]}
        for against, others in rivals.items():
            other = next((each for each in others if each in arms and each != arm), None)
            if other is None or same_chain(arm, other):
                continue
            axes = {axis: value for axis, value in arm._asdict().items() if axis != "replicate"}
            shared = {"axes": axes, "against": against, "against_steps": other.steps, "metric": metric}
            a, b = ({str(rep): [path] for rep, path in arms[side].items()} for side in (arm, other))
            found += [shared | {"display": display, "a": a, "b": b} for display in DISPLAYS]
    return found


def same_chain(arm: Cell, other: Cell) -> bool:
    """Whether two cells differ in K or in clipping alone: such a chain is no rival of the other."""
    return arm._replace(steps=0, nfe=0, clip_x0=False) == other._replace(steps=0, nfe=0, clip_x0=False) and (
        arm.steps != other.steps or arm.nfe == other.nfe
    )


def likes(arm: Cell, start: str) -> list[Cell]:
    """What an arm may be compared with at its own K from another start, the most alike first."""
    whole = arm._replace(start=start, passes=None, sampler="ancestral", nfe=arm.steps)
    return [arm._replace(start=start, passes=None), whole, whole._replace(clip_x0=False)]


def longest_from_gaussian(arm: Cell, arms: Iterable[Cell], most: int) -> list[Cell]:
    """The ancestral chains from a Gaussian of the largest K below the whole chain: clipped as the arm is, and not."""
    found = []
    for clip in (arm.clip_x0, False):
        like = arm._replace(start="gaussian", passes=None, sampler="ancestral", clip_x0=clip)
        chains = [each for each in arms if each == like._replace(steps=each.steps, nfe=each.steps)]
        shorter = [each for each in chains if each.steps < most]
        found += sorted(shorter, key=lambda each: each.steps)[-1:]
    return found
