"""Quality against cost: at the left evaluations of the net, at the right seconds per image; a line an arm."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...evaluation.displays import DISPLAYS
from ...evaluation.metrics import METRICS
from ...jobs.errors import UserError
from .. import labels
from ..plan import CELLS_TABLES, Wanted, file_name, known_option, of_savings, section, showing

ROLES = ("line", "panel")
DEFAULTS = {"line": ("start", "passes", "sampler", "clip_x0"), "panel": ("model",)}
ALONG = ("steps", "nfe")  # the cost says nfe, and a line of its own how far K is spread
OPTIONS = ("metric", "display", "margin")
DISTANCE = "distance"  # as a metric: the distance to judge by
MARGIN = 0.5
CEILINGS = ("oracle",)  # starts that no method has, as they are made from the training images
REFERENCE = (
    "The dotted line is the reference, DDPM from noise with all of the model's timesteps; what is within the margin is "
    "shaded; the ring is where its cost is. That is no verdict: verdicts are the claims'. "
)
SPREAD = (
    "The grey steps are the Pareto front of the means, without the oracle, which starts from training images and is a "
    "ceiling. Where a name says K, the evaluations are spread over the last K timesteps; else each is evaluated."
)
DRAWN = (
    " A full marker's mean is within the margin, an open one's is not; left of the ring it costs less than the "
    "reference. Where a mean lies is no verdict either."
)
GOOD = labels.BRIGHT[2]  # what shades the margin
COSTS = {"nfe": "evaluations of the net (log scale)", "seconds": "seconds per image (log scale)"}


def wanted(study) -> Iterator[Wanted]:
    for part, roles in showing(study, "pareto"):
        metric = roles.get("metric") or DISTANCE
        display = roles.get("display") or of_savings(study.claims, "display", "clamp")
        margin = of_savings(study.claims, "margin", MARGIN) if roles.get("margin") is None else roles["margin"]
        sided = [name for name, each in METRICS.items() if each.lower_is_better is not None]
        known_option(part, "pareto", "metric", metric, [DISTANCE, *sided])
        known_option(part, "pareto", "display", display, list(DISPLAYS))
        if not isinstance(margin, int | float) or not 0 <= margin < math.inf:
            key = f"config: experiments.{part.name}.show.pareto.margin"
            raise UserError(f"{key}: {margin!r}; right is a number from 0 up: 0.5 is half as much again")
        what = "distance to held-out real images" if metric == DISTANCE else metric.replace("_", " ")
        compared = references(study, part)
        paths = {"cells": [cell.path for cell in part.cells], "reference": [cell.path for cell in compared]}
        yield Wanted(
            file=file_name("pareto", part.name),
            kind="pareto",
            options={
                **roles,
                "metric": metric,
                "display": display,
                "margin": margin,
                "timesteps": study.timesteps,
                **paths,
            },
            inputs={"tables": CELLS_TABLES},
            section=section(part.name),
            title="Quality against cost",
            caption=f"{what[0].upper()}{what[1:]}, {display} display, against what an image costs. Lines are means "
            "over replicates, bands reach from the lowest to the highest. " + REFERENCE * bool(compared) + SPREAD,
            drawn=DRAWN * bool(compared),
            alt=f"Line charts: {what} against evaluations of the net and against seconds per image, one line per arm",
        )


def references(study, part) -> list:
    """The cells that quality is compared with: DDPM from noise with all steps, of the same trainings.

    Those of the experiment, where it has them; clipped or not as it says.
    """
    of = ("model", "epochs", "weights")
    whole = {"start": "noise", "sampler": "ancestral"}
    trainings = {tuple(getattr(cell, axis) for axis in of) for cell in part.cells}
    found = [
        cell
        for cell in study.cells
        if tuple(getattr(cell, axis) for axis in of) in trainings
        and all(getattr(cell, axis) == value for axis, value in whole.items())
        and cell.steps == cell.nfe == study.timesteps[cell.model]
    ]
    return [cell for cell in found if cell in part.cells] or found


class Parts(NamedTuple):
    """What both the figure and the chart show.

    rows: of the cells, each with its `value`; panels: key -> line -> rows; looks: of each line, in order; levels: of a
    panel, its reference's rows, their mean, and up to where (down, if not `lower`) a value is within the margin of it.
    """

    metric: str
    lower: bool
    margin: float
    by: list[str]
    panel: list[str]
    rows: list[dict]
    panels: dict[tuple, dict[tuple, list[dict]]]
    looks: dict[tuple, dict]
    names: dict[tuple, str]
    levels: dict[tuple, tuple[list[dict], float, float]]
    timed: list[dict]

    @property
    def costs(self) -> list[str]:
        return list(COSTS) if self.timed else ["nfe"]

    def title(self, key: tuple) -> str:
        """A panel's."""
        return labels.words(self.panel, (self.levels[key][0] or next(iter(self.panels[key].values())))[0])


def parts_of(inputs: dict, options: dict) -> Parts | None:
    """None where nothing was measured."""
    from .. import canvas, tables

    table, display = tables.with_paths(inputs["tables"]["cells"]), options.get("display") or "clamp"
    metric = options.get("metric") or DISTANCE
    metric = tables.distance(table) if metric == DISTANCE else metric
    lower = metric not in METRICS or METRICS[metric].lower_is_better
    line, panel = (list(options.get(role) or []) for role in ROLES)
    by = line if "steps" in line else [*line, "steps"]
    rows, references = (
        [
            row | {"value": labels.value(row, metric)}
            for row in tables.rows_of(table, paths)
            if row["display"] == display
        ]
        for paths in (options.get("cells"), options.get("reference") or [])
    )
    rows = [row for row in rows if row["value"] is not None]
    if not any(math.isfinite(row["value"]) for row in rows):
        return None
    most = options.get("timesteps") or {}
    panels = {key: series(part, line, by, most) for key, part in labels.panels(rows, panel, ["nfe"]).items()}
    firsts = {at: part[0] for parts in panels.values() for at, part in parts.items()}
    firsts = {at: firsts[at] for at in sorted(firsts, key=lambda at: place(line, firsts[at]))}
    names = {at: labels.words(by, first) or labels.arm(first) for at, first in firsts.items()}
    margin = MARGIN if options.get("margin") is None else options["margin"]
    levels = {}
    for key in panels:
        ideal = [row for row in references if labels.key(panel, row) == key]
        level = canvas.mean_and_band([row["value"] for row in ideal if row["value"] is not None])[0]
        levels[key] = ideal, level, level * (1 + margin if lower else 1 - margin) if level > 0 else math.nan
    timed = [row for row in rows if seconds(row)]
    return Parts(metric, lower, margin, by, panel, rows, panels, looks(by, firsts), names, levels, timed)


def draw(inputs: dict, options: dict):
    from .. import canvas

    parts = parts_of(inputs, options)
    if parts is None:
        return canvas.nothing("nothing to draw: no distance was measured here")
    places = [(key, cost) for key in parts.panels for cost in parts.costs]
    columns = min(2, len(places))
    rows_of_axes = -(-len(places) // columns)
    fig, axes = canvas.subplots(rows_of_axes, columns, 1.5 + 3.5 * rows_of_axes)
    at_axes = dict(zip(places, axes.flat, strict=False))
    for spare in axes.flat[len(places) :]:
        spare.set_axis_off()
    handles: dict[str, object] = {}
    for key, own in parts.panels.items():
        ideal, level, limit = parts.levels[key]
        values = [row["value"] for part in own.values() for row in part]
        for cost in parts.costs:
            axis = at_axes[key, cost]
            note = canvas.distance_axis(axis, [*values, level, limit], None)
            axis.set_xscale("log")
            points = []
            for at in (at for at in parts.looks if at in own):
                found = draw_arm(axis, cost, own[at], parts.looks[at], limit, parts.lower)
                points += found if own[at][0]["start"] not in CEILINGS else []
                handles[parts.names[at]] = canvas.Line2D([], [], **canvas.full(parts.looks[at]))
            draw_front(axis, points, parts.lower)
            if math.isfinite(level):
                draw_reference(axis, cost, ideal, level, limit, parts.lower)
            axis.xaxis.set_major_locator(canvas.plt.LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_locator(canvas.plt.NullLocator())
            axis.set(xlabel=COSTS[cost], ylabel=labels.metric_title(parts.metric) + note)
            axis.set_title(parts.title(key))
    rows, referred = parts.rows, {row["steps"] for ideal, _, _ in parts.levels.values() for row in ideal}
    handles |= explained(rows, referred, parts.lower, parts.margin)
    canvas.legend(fig, handles)
    what = labels.metric_title(parts.metric).replace("\n", " ")
    fixed = labels.alike(
        rows, [axis for axis in ("model", "weights", "epochs") if axis not in (*parts.by, *parts.panel)]
    )
    display = labels.DISPLAY_LABELS[options.get("display") or "clamp"]
    text = f"{what[0].upper()}{what[1:]}, {display}, against cost" + f"; {fixed}" * bool(fixed)
    if not parts.timed:
        text += "; no cell was timed, so seconds per image are left out"
    elif len(parts.timed) < len(rows):
        text += f"; {len(rows) - len(parts.timed)} of {len(rows)} cells were not timed and are at the left alone"
    canvas.headline(fig, text)
    return fig


def chart(inputs: dict, options: dict) -> Iterator[dict]:
    """A chart a panel and cost."""
    from .. import charts

    parts = parts_of(inputs, options)
    for key, own in () if parts is None else parts.panels.items():
        ideal, level, limit = parts.levels[key]
        named = {parts.names[at]: look for at, look in parts.looks.items() if at in own}
        for cost in parts.costs:
            where = {"nfe": lambda row: row["nfe"], "seconds": seconds}[cost]
            found, means = [], []
            for at in (at for at in parts.looks if at in own):
                placed = [row | {"x": where(row)} for row in own[at] if where(row)]
                groups = {mean_of(part, "x"): part for part in labels.grouped(placed, ["nfe"]).values()}
                line = charts.points(groups, parts.metric, parts.names[at])
                found += line
                if own[at][0]["start"] not in CEILINGS:
                    means += [(point["x"], point["mean"]) for point in line if point["mean"] is not None]
            if not found:
                continue
            title = ", ".join(filter(None, [parts.title(key), f"against {COSTS[cost].split(' (')[0]}"]))
            costs = [where(row) for row in ideal]
            known = math.isfinite(level)
            drawn = charts.lines(
                found,
                named,
                COSTS[cost],
                labels.metric_title(parts.metric),
                True,
                levels={"reference: DDPM, all steps": level} if known else {},
                good=limit if math.isfinite(limit) and parts.lower else None,
                ring=(sum(costs) / len(costs), level) if known and costs and None not in costs else None,
                front=pareto_front(means, parts.lower),
            )
            yield charts.document(title, drawn)


def mean_of(rows: Sequence[Mapping], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def place(line: Sequence[str], row: Mapping) -> tuple:
    """A sort key of a line: by arm, first what evaluates all of its timesteps."""
    return labels.order(line, row), row["steps"] or 0


def seconds(row: Mapping) -> float | None:
    """Seconds per image, None where that was not timed."""
    found = row.get("seconds")
    return found if found is not None and found > 0 else None


def series(
    rows: Sequence[Mapping], line: Sequence[str], by: Sequence[str], most: Mapping[str, int]
) -> dict[tuple, list[dict]]:
    """The rows of each line, by its values on `by`: of an arm, and of a K over which evaluations are spread.

    most: how many timesteps a model has in all. A chain that evaluates all of its last K timesteps (nfe = K) is of a
    line without K; it also ends that K's line.
    """
    if by == line:
        return labels.grouped(rows, line)
    found: dict[tuple, list[dict]] = {}
    for part in labels.grouped(rows, line).values():
        every = [row for row in part if row["nfe"] == row["steps"]]
        few = labels.grouped([row for row in part if row["nfe"] != row["steps"]], ["steps"])
        lines = {k: [*rest, *(row for row in every if row["steps"] == k)] for (k,), rest in few.items()}
        if any((row["steps"],) not in few for row in every):
            lines[None] = every
        if list(lines) == [most.get(part[0]["model"])]:  # spread over the whole chain alone: needs no word
            lines = {None: next(iter(lines.values()))}
        for k, own in lines.items():
            found |= {labels.key(by, own[0] | {"steps": k}): [row | {"steps": k} for row in own]}
    return found


def looks(by: Sequence[str], firsts: Mapping[tuple, Mapping]) -> dict[tuple, dict]:
    """How each line looks: `canvas.styles`, a start's samplers as shades of its colour, and only a ceiling dashed."""
    from .. import canvas

    solid = [dashes for dashes in canvas.LINES if dashes != "--"]
    found, samplers = {}, {}
    for at, style in zip(firsts, canvas.styles(by, list(firsts.values()), lines=solid), strict=True):
        start, sampler = firsts[at]["start"], firsts[at]["sampler"]
        known = samplers.setdefault(start, {})
        colour = canvas.shade(style["color"], known.setdefault(sampler, len(known)) if "start" in by else 0)
        found[at] = style | {"color": colour} | ({"ls": "--"} if start in CEILINGS else {})
    return found


def draw_arm(axis, cost: str, rows: list[dict], style: dict, limit: float, lower: bool) -> list[tuple[float, float]]:
    """One line, its markers full where the mean is within the limit. Returns the means: (cost, value)."""
    from .. import canvas

    at: dict[float, list[float]] = {}
    for (nfe,), part in labels.grouped(rows, ["nfe"]).items():
        values, times = [row["value"] for row in part], [seconds(row) for row in part if seconds(row)]
        if cost == "seconds" and times:
            at[sum(times) / len(times)] = values
        elif cost == "nfe" and nfe is not None:
            at[nfe] = values
        elif cost == "nfe":  # drawn without a chain
            middle, low, high = canvas.mean_and_band(values)
            axis.axhline(middle, color=style["color"], ls="-.", lw=1.4)
            axis.axhspan(low, high, color=style["color"], alpha=0.12, lw=0)
    if not at:
        return []
    at = dict(sorted(at.items()))
    look = style | {"mfc": "white", "mec": style["color"], "mew": 1.3}
    drawn = canvas.replicates(axis, list(at), list(at.values()), edge=1 if lower else 0, **look)
    points = [(x, y) for x, y in zip(at, drawn.get_ydata(), strict=True) if math.isfinite(y)]
    good = [(x, y) for x, y in points if not (y > limit if lower else y < limit)]  # all, where there is no limit
    axis.plot([x for x, _ in good], [y for _, y in good], **canvas.full(style) | {"ls": ""})
    return points


def pareto_front(points: Sequence[tuple[float, float]], lower: bool = True) -> list[tuple[float, float]]:
    """Those of the points (cost, value) that none is better than at the same cost or less, by rising cost."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], point[1] if lower else -point[1])):
        if not found or (y < found[-1][1] if lower else y > found[-1][1]):
            found.append((x, y))
    return found


def draw_front(axis, points: Sequence[tuple[float, float]], lower: bool) -> None:
    front = pareto_front(points, lower)
    if front:
        limits = axis.get_xlim()
        xs, ys = zip(*front, (limits[1], front[-1][1]), strict=True)
        axis.plot(xs, ys, color="0.45", lw=1.2, drawstyle="steps-post", zorder=1.5)
        axis.set_xlim(limits)


def draw_reference(axis, cost: str, rows: list[dict], level: float, limit: float, lower: bool) -> None:
    """The reference's level, dotted, a ring at its cost, and the shaded margin."""
    axis.axhline(level, color="black", ls=":", lw=1.5, zorder=1.8)
    at = [row["nfe"] if cost == "nfe" else seconds(row) for row in rows]
    if None not in at:
        ring = {"ls": "", "marker": "o", "ms": 13, "mfc": "none", "mec": "black", "mew": 1.4, "zorder": 4}
        axis.plot([sum(at) / len(at)], [level], **ring)
    if math.isfinite(limit):
        bounds = axis.get_ylim()
        axis.axhspan(*((bounds[0], limit) if lower else (limit, bounds[1])), color=GOOD, alpha=0.12, lw=0, zorder=0.3)
        axis.set_ylim(bounds)


def explained(rows: list[dict], referred: set[int], lower: bool, margin: float) -> dict[str, object]:
    """What a legend says of all that is no arm."""
    from matplotlib.patches import Patch

    from .. import canvas

    found: dict[str, object] = {}
    if referred:
        ring = canvas.Line2D([], [], color="black", ls=":", marker="o", mfc="none", ms=10, mew=1.2)
        found[f"reference: DDPM, K = {' or '.join(map(str, sorted(referred)))}"] = ring
        bound = f"at most {1 + margin:g}" if lower else f"at least {1 - margin:g}"
        found[f"{bound} × the reference: full markers"] = Patch(color=GOOD, alpha=0.2, lw=0)
    without = ", without the oracle" * any(row["start"] in CEILINGS for row in rows)
    found["Pareto front of the means" + without] = canvas.Line2D([], [], color="0.45", lw=1.2, drawstyle="steps-post")
    if any(math.isinf(row["value"]) for row in rows):
        found[canvas.DIVERGED] = canvas.diverged_mark(1 if lower else 0)
    return found
