"""What the claims' contrasts are estimated as, with their intervals and verdicts: a row a claim and model."""

import math
from collections.abc import Iterator

from ...evaluation.measures import OF_TIMING
from ...evaluation.metrics import METRICS
from .. import labels
from ..plan import Wanted, file_name

ROLES = ()
NOT_ASKED = "not asked"
VERDICTS = {  # -> colour and marker
    "supported": (labels.BRIGHT[2], "o"),
    "refuted": (labels.BRIGHT[3], "X"),
    "inconclusive": ("0.4", "s"),
}
FAR = 2.0  # beyond which, in units of the reference, an interval is cut
USUAL = {"metric": next(iter(METRICS)), "display": "clamp"}
LEFT, AXIS, VERDICT, P = 0.12, (4.7, 7.75), 7.95, 9.9  # inches from the left: claim, axis, verdict, and the end of p
HEAD, FOOT, ROW, LINE, GAP, SMALL = 0.8, 0.75, 0.32, 0.16, 0.16, 0.115  # inches


def wanted(study) -> Iterator[Wanted]:
    if getattr(study, "claims", None):
        yield Wanted(
            file=file_name("forest"),
            kind="forest",
            options={},
            inputs={"claims": "tables/claims.csv"},
            section="claims",
            title="All claims at a glance",
            caption="The mean contrast of each claim with its two-sided 95 % interval, in units of the reference. Left "
            "of zero supports the claim; where it is of being as good, its margin is already in the contrast: the pale "
            "bar reaches from zero to where both sides are equal. An arrow leaves the axis. A verdict may err in 5 % "
            "of cases to either side, so that an interval can just cross zero, and it needs the same sign in the "
            "energy distance and in the second classifier's features. p is adjusted by Holm's procedure for all claims "
            "that are not exploratory.",
            alt="Forest plot: estimate, interval and verdict of each claim and model",
        )


def draw(inputs: dict, options: dict):
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import blended_transform_factory

    from .. import canvas

    table = inputs["claims"]
    rows = [row | scaled(row) for row in table.to_dict("records") if row["verdict"] != NOT_ASKED]
    if not rows:
        return canvas.nothing("nothing to draw: no claim was asked of this study")
    claims: dict[str, list[dict]] = {}
    for row in rows:
        claims.setdefault(str(row["claim"]), []).append(row)
    for row in rows:
        row["models"] = canvas.wrapped(str(row["model"]), 1.3, 8.5)
        row["why"] = canvas.wrapped(reason(row), P - VERDICT, 7)
        row["height"] = max(ROW, LINE * len(row["models"]) + 0.06, 0.2 + SMALL * len(row["why"]))
    name_width = min(1.4, 1.12 * max(canvas.wide(name, 9.5) for name in claims) * canvas.UNIT + 0.12)  # bold is wider
    model_width = max(canvas.wide(line, 8.5) for row in rows for line in row["models"]) * canvas.UNIT
    room = AXIS[0] - 0.12 - model_width - 0.15 - LEFT - name_width
    told = {name: canvas.wrapped(statement(own[0]), room, 8.5) for name, own in claims.items()}
    heights = {name: max(sum(r["height"] for r in own), LINE * len(told[name])) + GAP for name, own in claims.items()}
    total = sum(heights.values())
    fig = canvas.plt.figure(figsize=(canvas.WIDTH, HEAD + total + FOOT), dpi=canvas.DPI)
    axis = fig.add_axes(
        (
            AXIS[0] / canvas.WIDTH,
            FOOT / (HEAD + total + FOOT),
            (AXIS[1] - AXIS[0]) / canvas.WIDTH,
            total / (HEAD + total + FOOT),
        )
    )
    low, high = limits(rows)
    axis.set(xlim=(low, high), ylim=(total, 0), yticks=[])
    axis.grid(axis="y", visible=False)
    axis.axvline(0, color="black", lw=1.1, zorder=1)
    beside = blended_transform_factory(fig.dpi_scale_trans, axis.transData)  # inches from the left, and a row's place

    def write(x: float, y: float, text: str, size: float = 8.5, **look: object) -> None:
        axis.text(x, y, text, transform=beside, fontsize=size, va=look.pop("va", "center"), **look)

    top = 0.0
    for index, (name, own) in enumerate(claims.items()):
        height = heights[name]
        if index % 2 == 0:
            shade = {"color": "0.955", "lw": 0, "zorder": -1, "clip_on": False, "transform": beside}
            axis.add_patch(Rectangle((0.05, top), canvas.WIDTH - 0.1, height, **shade))
        fits = (name_width - 0.12) / (1.12 * canvas.wide(name, 9.5) * canvas.UNIT)
        write(LEFT, top + height / 2, name, 9.5 * min(1, fits), weight="bold")
        write(LEFT + name_width, top + height / 2, "\n".join(told[name]), linespacing=1.25)
        y = top + (height - sum(row["height"] for row in own)) / 2
        for row in own:
            y += row["height"] / 2
            colour, marker = VERDICTS.get(row["verdict"], VERDICTS["inconclusive"])
            write(AXIS[0] - 0.12, y, "\n".join(row["models"]), ha="right", color="0.25")
            equal = -math.log1p(row["margin"]) if row["metric"] in OF_TIMING else -row["margin"]
            axis.barh(y, equal, 0.1, color="0.8", lw=0, zorder=0.5)
            draw_interval(axis, row, y, low, high, colour, marker)
            above = y - SMALL * len(row["why"]) / 2
            write(VERDICT, above, row["verdict"], 9, color=colour, weight="bold")
            write(P, above, p_value(row), ha="right")
            for place, line in enumerate(row["why"]):
                write(VERDICT, above + 0.15 + SMALL * place, line, 7, color="0.35")
            y += row["height"] / 2
        top += height
    for x, head, where in (
        (LEFT, "claim", "left"),
        (AXIS[0] - 0.12, "model", "right"),
        (VERDICT, "verdict", "left"),
        (P, "p (Holm)", "right"),
    ):
        write(x, -0.12, head, 9, ha=where, color="0.35", va="bottom")
    axis.text(0, -0.12, "← supports | against →", ha="center", va="bottom", fontsize=9, color="0.35")
    axis.set_xlabel("contrast / the reference's value", fontsize=9.5)
    axis.tick_params(labelsize=9)
    fig.suptitle(title(rows), fontsize="medium", y=1 - 0.12 / (HEAD + total + FOOT), va="top")
    return fig


def chart(inputs: dict, options: dict) -> Iterator[dict]:
    from .. import charts

    found = []
    for row in inputs["claims"].to_dict("records"):
        ends = scaled(row)
        if row["verdict"] != NOT_ASKED and all(map(math.isfinite, ends.values())):
            name = f"{row['claim']}: {row['model']}" if isinstance(row["model"], str) else row["claim"]
            cut = {end: min(max(value, -FAR), FAR) for end, value in ends.items()}
            found.append(
                {"claim": name, "statement": statement(row), "verdict": row["verdict"], **cut, "p": p_value(row)}
            )
    if found:
        colours = {word: labels.GREY if colour == "0.4" else colour for word, (colour, _) in VERDICTS.items()}
        drawn = charts.intervals(found, colours, f"contrast / the reference's value (cut at ±{FAR:g})")
        yield charts.document("Left of zero supports a claim", drawn)


def scaled(row: dict) -> dict[str, float]:
    """Estimate and interval in units of the reference, 1 where they already are; NaN where that is not above 0."""
    reference = row["reference"] if row["reference"] > 0 else math.nan
    reference = 1.0 if math.isinf(reference) else reference  # it diverged, and so the estimate is no number either
    return {key: row[key] / reference for key in ("estimate", "ci_low", "ci_high")}


def limits(rows: list[dict]) -> tuple[float, float]:
    """The axis: as far as the finite intervals and estimates reach, but never beyond FAR, and with zero well inside."""
    ends = [row[key] for row in rows for key in ("estimate", "ci_low", "ci_high") if math.isfinite(row[key])]
    low, high = max(-FAR, min([-0.25, *ends])), min(FAR, max([0.25, *ends]))
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def draw_interval(axis, row: dict, y: float, low: float, high: float, colour: str, marker: str) -> None:
    """A row's interval with its estimate; an arrow at the edge, with the number, where one of them is beyond it."""
    estimate, ends = row["estimate"], (row["ci_low"], row["ci_high"])
    box = {"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.9}
    if math.isnan(estimate):
        middle = {"ha": "center", "va": "center", "fontsize": 8, "bbox": box}
        why = "no interval: the reference is not above zero" if row["reference"] <= 0 else "not estimated"
        axis.text(0.5 * (low + high), y, why, **middle, color="0.35", style="italic")
        return
    pad = 0.025 * (high - low)
    inside = [low + pad if end < low else high - pad if end > high else end for end in ends if not math.isnan(end)]
    if inside and math.isfinite(estimate):
        axis.plot(inside, [y] * len(inside), color=colour, lw=2.2, solid_capstyle="butt", zorder=2)
        if ends[0] < low <= estimate:
            axis.plot([low + pad], [y], color=colour, marker="<", ms=7, zorder=2)
        if ends[1] > high >= estimate:
            axis.plot([high - pad], [y], color=colour, marker=">", ms=7, zorder=2)
    if low <= estimate <= high:
        axis.plot(
            [estimate], [y], color=colour, marker=marker, ms=9 if marker == "X" else 8, mec="white", mew=0.8, zorder=3
        )
        return
    right = estimate > 0
    at = high - pad if right else low + pad
    axis.plot([at], [y], color=colour, marker=">" if right else "<", ms=10, mec="white", mew=0.8, zorder=3)
    where = {"ha": "right" if right else "left", "va": "bottom", "fontsize": 8, "color": colour}
    axis.text(at + (-pad if right else pad), y - 0.035, number(estimate), **where)


def number(estimate: float) -> str:
    return (
        f"{estimate:+.2g}" if math.isfinite(estimate) else "diverged, ∞" if estimate > 0 else "the other diverged, −∞"
    )


def statement(row: dict) -> str:
    """A claim's words, with what is not usual about it."""
    notes = []
    if row["metric"] not in (USUAL["metric"], "fd_rotation", "fid_inception"):
        notes.append(labels.metric_word(row["metric"]))
    if row["display"] != USUAL["display"]:
        notes.append(f"{row['display']} display")
    if row["margin"] > 0:
        notes.append(f"margin\N{NO-BREAK SPACE}{100 * row['margin']:g}\N{NO-BREAK SPACE}%")
    return str(row["statement"]) + f" ({', '.join(notes)})" * bool(notes)


def reason(row: dict) -> str:
    """Why a verdict is left open, where that is not its interval: another measure has another sign, or the note."""
    second = "net 2" if "rotation" in row["metric"] else "classifier 2"
    others = {"agrees_energy": "energy", "agrees_classifier_2": second}
    against = [name for key, name in others.items() if str(row.get(key)) == "False"]
    note = row.get("note")
    if row["verdict"] != "inconclusive":
        return ""
    if against and math.isfinite(row["estimate"]):
        return f"{against[0]} disagrees" if len(against) == 1 else f"energy and {second} disagree"
    return note if isinstance(note, str) else ""


def p_value(row: dict) -> str:
    p = row["p_holm"]
    if not math.isfinite(p):
        return "exploratory" if str(row.get("exploratory")) == "True" else "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def title(rows: list[dict]) -> str:
    """How the verdicts are distributed, and what they are about."""
    counts = [f"{sum(row['verdict'] == word for row in rows)} {word}" for word in VERDICTS]
    text = f"{len(rows)} verdicts: {', '.join(counts)}"
    scopes = {(row["scope"], row["replicates"]) for row in rows}
    if len(scopes) == 1:
        ((scope, replicates),) = scopes
        text += f"; {scope}" + f", {replicates:g} replicate{'s' * (replicates != 1)}" * bool(replicates > 0)
    return text
