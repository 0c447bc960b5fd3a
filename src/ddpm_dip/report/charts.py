"""What the page's charts are made with: the one place that imports Altair. Their look is the page's (charts.js)."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from . import labels

HEIGHT, ROW = 300, 26  # pixels, of a chart and of a row in one; all are as wide as the page has room
SHAPES = {"o": "circle", "D": "diamond", "s": "square", "^": "triangle-up", "v": "triangle-down", "<": "triangle-left",
          ">": "triangle-right", "P": "cross", "X": "cross", "*": "triangle-up", "d": "diamond", "p": "square",
          "h": "circle", "H": "circle"}  # fmt: skip
DIVERGED = "diverged"


def document(title: str, chart: alt.TopLevelMixin) -> dict:
    """A chart as the page takes it: its title, and its Vega-Lite specification with its data."""
    return {"title": title, "spec": chart.to_dict()}


def scale(values: Sequence[float], log: bool = False) -> tuple[alt.Scale, alt.Axis]:
    """From 0; or logarithmic where the range is wide, linear around zero where values are near it or below.

    With an axis whose ticks are 1, 2, 5, 10, ... where it is not linear.
    """
    known = np.array([value for value in values if np.isfinite(value)])
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    unit = max(-low, min(known[known > 0], default=0))
    if not unit > 0 or not (log or high > 20 * unit):
        return alt.Scale(zero=True), alt.Axis()
    if low > 0:
        return alt.Scale(type="log", nice=False, padding=8), alt.Axis(values=ticks(low, high), format=".6~g")
    below = [-max(tick for tick in ticks(-low / 10, -low) if tick <= -low)] if low < 0 else []
    marks = [*below, 0.0, *ticks(unit, high)]
    return alt.Scale(type="symlog", constant=float(unit), nice=False), alt.Axis(values=marks, format=".6~g")


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade between two values above 0, or the decades alone where these are many."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1, 2, 5) if high < 5e3 * low else (1,)
    found = [float(f"{step * decade:.1g}") for decade in decades for step in steps]
    return [tick for tick in found if 0.8 * low <= tick <= 1.25 * high]


def points(groups: Mapping[object, Sequence[Mapping]], metric: str, series: str) -> list[dict]:
    """Points of a line from rows of cells.csv, those of each place x: their mean, lowest and highest over replicates.

    A place where a replicate diverged has no mean; `cell` is the path of the first replicate's.
    """
    found = []
    for x, rows in groups.items():
        values = [labels.value(row, metric) for row in rows]
        values = [value for value in values if value is not None]
        if not values:
            continue
        whole = all(np.isfinite(values))
        first = min(rows, key=lambda row: row["replicate"])
        ends = (float(np.mean(values)), min(values), max(values)) if whole else (None,) * 3
        of_values = dict(zip(("mean", "low", "high"), ends, strict=True))
        found.append(
            {"series": series, "x": x, **of_values, DIVERGED: not whole, "replicates": len(values)}
            | {"cell": first["path"], "name": labels.name(first)}
        )
    return found


def lines(
    found: Sequence[dict],
    looks: Mapping[str, Mapping],
    x: str,
    y: str,
    log_x: bool,
    log_y: bool = False,
    levels: Mapping[str, float] = {},  # noqa: B006, never written to
    good: float | None = None,
    ring: tuple[float, float] | None = None,
    front: Sequence[tuple[float, float]] = (),
) -> alt.LayerChart:
    """Lines with bands over replicates. looks: series -> Matplotlib's color, ls and marker; x, y: titles.

    levels: horizontal lines by their names; good: the value up to which quality is within the margin; ring: where the
    reference is; front: points (x, y) of the Pareto front, by rising x, drawn as grey steps to the last x.
    """
    table = pd.DataFrame(found)
    names = [name for name in looks if name in set(table["series"])]
    values = [
        *table[["low", "high"]].to_numpy(dtype=float).ravel(),
        *levels.values(),
        *([] if good is None else [good]),
    ]
    across = alt.Scale(type="log", nice=False, padding=12) if log_x else alt.Scale(zero=False, padding=12)
    marks = alt.Axis(values=ticks(table["x"].min(), table["x"].max()), format=".6~g") if log_x else alt.Axis()
    at_x = alt.X("x:Q", title=x, scale=across, axis=marks)
    up, beside = scale(values, log_y)
    at_y = alt.Y("mean:Q", title=y.replace("\n", " "), scale=up, axis=beside)

    def of_series(channel: type, look: list, **options: object):
        return channel("series:N", scale=alt.Scale(domain=names, range=look), title=None, **options)

    legend = alt.Legend(orient="bottom", columns=2, labelLimit=0, symbolOpacity=1, symbolStrokeWidth=0)
    colour = of_series(alt.Color, [looks[name]["color"] for name in names], legend=legend)
    shape = of_series(alt.Shape, [SHAPES.get(looks[name].get("marker"), "circle") for name in names], legend=legend)
    dashed = [[1, 0] if looks[name].get("ls", "-") == "-" else [5, 4] for name in names]
    dash = of_series(alt.StrokeDash, dashed, legend=legend)
    told = [alt.Tooltip("name:N", title="cell"), alt.Tooltip("x:Q", title=x.split(" (")[0])]
    told += [alt.Tooltip(f"{end}:Q", format=".3g") for end in ("mean", "low", "high")]
    told.append(alt.Tooltip("replicates:Q"))
    base = alt.Chart(table).encode(x=at_x, color=colour)
    layers = []
    if good is not None:
        bottom = min([value for value in values if np.isfinite(value)] + [0.0] * (up.to_dict().get("type") != "log"))
        area = alt.Chart(pd.DataFrame([{"good": good, "bottom": bottom}])).mark_rect(
            opacity=0.13, color=labels.BRIGHT[2]
        )
        layers.append(area.encode(y="good:Q", y2="bottom:Q"))
    if levels:
        level = pd.DataFrame([{"level": value, "name": name} for name, value in levels.items()])
        rule = alt.Chart(level).mark_rule(strokeDash=[2, 3], strokeWidth=1.6)
        layers.append(rule.encode(y="level:Q", tooltip=["name:N", alt.Tooltip("level:Q", format=".3g")]))
    if front:
        steps = pd.DataFrame([*front, (max(table["x"]), front[-1][1])], columns=["x", "front"])
        line = alt.Chart(steps).mark_line(interpolate="step-after", color=labels.GREY, strokeWidth=1.4)
        layers.append(line.encode(x="x:Q", y="front:Q"))
    layers.append(base.mark_area(opacity=0.16).encode(y="low:Q", y2="high:Q"))
    layers.append(base.mark_line(strokeWidth=2).encode(y=at_y, strokeDash=dash))
    layers.append(base.mark_point(filled=True, size=75, opacity=1).encode(y=at_y, shape=shape, tooltip=told))
    if ring:
        circle = alt.Chart(pd.DataFrame([ring], columns=["x", "ring"])).mark_point(size=260, strokeWidth=1.5)
        layers.append(circle.encode(x="x:Q", y="ring:Q", color=alt.value("black")))
    if table[DIVERGED].any():
        lost = base.transform_filter(f"datum.{DIVERGED}").mark_point(shape="triangle-up", filled=True, size=120)
        layers.append(lost.encode(y=alt.value(0), tooltip=[*told[:2], alt.Tooltip(f"{DIVERGED}:N")]))
    return alt.layer(*layers).properties(width="container", height=HEIGHT)


def fields(found: Sequence[dict], x: str, y: str, what: str) -> alt.LayerChart:
    """A heat map, darker where `mean` is larger, with the numbers in it. x, y: titles, of what each field calls column
    and row; their order is that of the fields."""
    table = pd.DataFrame(found)
    table["text"] = [labels.compact(value) for value in table["mean"]]
    low, high = table["mean"].min(), table["mean"].max()
    kind = "log" if low > 0 and high > 20 * low else "linear"
    base = alt.Chart(table).encode(
        x=alt.X("column:N", title=x, sort=None, axis=alt.Axis(labelAngle=0)), y=alt.Y("row:N", title=y, sort=None)
    )
    tone = alt.Color("mean:Q", title=what.replace("\n", " "), scale=alt.Scale(scheme="blues", type=kind), legend=None)
    told = [alt.Tooltip("name:N", title="cell"), alt.Tooltip("mean:Q", format=".3g")]
    dark = f"datum.mean > {float(np.sqrt(low * high) if kind == 'log' else (low + high) / 2)}"
    text = base.mark_text().encode(text="text:N", color=alt.condition(dark, alt.value("white"), alt.value("black")))
    height = ROW * table["row"].nunique() + 4
    return alt.layer(base.mark_rect().encode(color=tone, tooltip=told), text).properties(
        width="container", height=height
    )


def intervals(found: Sequence[dict], colours: Mapping[str, str], x: str) -> alt.LayerChart:
    """A row a claim, with its estimate and interval, coloured by its verdict."""
    table = pd.DataFrame(found)
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), title=None)
    shape = alt.Shape(
        "verdict:N", scale=alt.Scale(domain=list(colours), range=["circle", "cross", "square"]), title=None
    )
    told = [alt.Tooltip(name) for name in ("claim:N", "statement:N", "verdict:N", "p:N")]
    told += [alt.Tooltip(f"{end}:Q", format=".2f") for end in ("estimate", "ci_low", "ci_high")]
    base = alt.Chart(table).encode(y=alt.Y("claim:N", sort=None, title=None))
    zero = alt.Chart(pd.DataFrame([{"zero": 0}])).mark_rule(strokeWidth=1.2).encode(x="zero:Q")
    line = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("ci_low:Q", title=x), x2="ci_high:Q", color=colour)
    point = base.mark_point(filled=True, size=110, opacity=1).encode(
        x="estimate:Q", color=colour, shape=shape, tooltip=told
    )
    return alt.layer(zero, line, point).properties(width="container", height=ROW * len(table) + 4)
