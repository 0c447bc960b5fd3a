"""What each start gives the chain against what the chain expects at t = K - 1: spectrum, mean and variance by K."""

from collections.abc import Iterator

from .. import labels
from ..plan import Wanted, file_name

ROLES = ()
MOST_COLUMNS = 5
NEGLIGIBLE = 1000  # power is drawn as at least the smallest expected one over this
TABLES = {"starts": "tables/starts.csv", "spectra": "tables/spectra.csv"}
# column of starts.csv -> title of its panels, what the chain expects, and whether its axis is logarithmic
MEASURES = {"mean_error": ("RMS error of the mean", 0.0, False), "variance_ratio": ("variance / expected", 1.0, True)}


def wanted(study) -> Iterator[Wanted]:
    if len({cell.start for cell in study.cells} - {None}) > 1:
        yield Wanted(
            file=file_name("start-check"),
            kind="start-check",
            options={},
            inputs={"tables": TABLES},
            section="starts",
            title="What each start gives the chain",
            caption="What a start gives against what the chain expects to find at t = K - 1, which is the training "
            "images under that much noise. Above: power by spatial frequency, the thick grey line being expected; less "
            f"than 1/{NEGLIGIBLE} of the least expected is drawn as that. "
            "Below: how far the mean is off, and the variance in units of the expected one; the dotted lines are where "
            "a perfect start is. No model has a part in this. Bands and bars reach over replicates.",
            alt="Line charts of the power spectrum of each start beside the expected one, a panel a K, and dot charts "
            "of mean error and variance ratio below",
        )


def draw(inputs: dict, options: dict):
    import numpy as np

    from .. import canvas

    starts, spectra = (plain(inputs["tables"][name]) for name in ("starts", "spectra"))
    if not starts or not spectra:
        return canvas.nothing("nothing to draw: no start was described")
    every = sorted({(row["schedule"], row["steps"]) for row in starts})
    shown = evenly(every, MOST_COLUMNS)
    several = len({schedule for schedule, _ in every}) > 1
    arms = list(labels.grouped([row for row in starts if level(row) in shown], ("start", "passes")))
    styles = {arm: look(arm, arms) for arm in arms}
    heights = [2.9, *(0.55 + 0.23 * len(arms) for _ in MEASURES)]
    fig, axes = canvas.subplots(
        1 + len(MEASURES), len(shown), sum(heights) + 1.5, sharex="row", sharey="row", height_ratios=heights
    )
    handles: dict[str, object] = {}
    for column, here in zip(axes.T, shown, strict=True):
        own = [row for row in spectra if level(row) == here]
        draw_spectra(column[0], own, styles, handles)
        schedule, k = here
        words = [f"K = {k}", *(schedule.split(", ") if several else [])]
        column[0].set_title("\n".join(words), fontsize="small" if several else None)
        for axis, (measure, (title, ideal, log)) in zip(column[1:], MEASURES.items(), strict=True):
            for place, arm in enumerate(arms):
                values = [row[measure] for row in starts if level(row) == here and (row["start"], row["passes"]) == arm]
                dot = canvas.full(styles[arm]) | {"ls": ""}
                if not np.isfinite(values).all():  # at the right edge: the worst there is
                    edge = {"marker": ">", "transform": axis.get_yaxis_transform(), "clip_on": False}
                    axis.plot([1], [place], **dot | edge)
                elif values:
                    axis.hlines(place, min(values), max(values), color=styles[arm]["color"], lw=3, alpha=0.4)
                    axis.plot([np.mean(values)], [place], **dot)
            axis.axvline(ideal, color="black", ls=":", lw=1.4, zorder=1)
            axis.set(ylim=(len(arms) - 0.4, -0.6))
            axis.set_xlabel(title, fontsize="small")
            axis.set_yticks(range(len(arms)), [labels.start_label(*arm) for arm in arms], fontsize="small")
            axis.tick_params(axis="x", labelsize="small")
            if log:
                axis.set_xscale("log")
                ends = [row[measure] for row in starts if np.isfinite(row[measure]) and row[measure] > 0]
                subs = (1, 2, 5) if ends and max(ends) < 10 * min(ends) else (1,)  # there is room for three labels
                axis.xaxis.set_major_locator(canvas.plt.LogLocator(subs=subs, numticks=5))
                axis.xaxis.set_major_formatter("{x:g}")
                axis.xaxis.set_minor_locator(canvas.plt.NullLocator())
    axes[0, 0].set_ylabel("power (log scale)")
    if any(not np.isfinite(row["power"]) for row in spectra):
        handles["not finite in a replicate"] = canvas.diverged_mark()
    canvas.legend(fig, handles)
    left_out = f"; {len(shown)} of {len(every)} noise levels" * (len(shown) < len(every))
    canvas.headline(fig, f"What each start gives, and what the chain expects at t = K - 1{left_out}")
    return fig


def plain(table) -> list[dict]:
    """The rows of a table, with whole numbers and None where a start has no passes."""
    counts = [key for key in ("passes", "steps", "replicate", "band") if key in table]
    empty = table[counts].isna().to_dict("records")
    return [
        row | {key: None if lacks[key] else int(row[key]) for key in counts}
        for row, lacks in zip(table.to_dict("records"), empty, strict=True)
    ]


def level(row: dict) -> tuple[str, int]:
    """What says how much noise the chain expects: the schedule and K."""
    return row["schedule"], row["steps"]


def evenly(values: list, most: int) -> list:
    """At most so many of the values, evenly chosen by place, with both ends."""
    if len(values) <= most:
        return values
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]


def look(arm: tuple, arms: list[tuple]) -> dict:
    """A start's colour and marker; its further counts of passes have other shades and lines."""
    from .. import canvas

    start, _ = arm
    place = [other for other in arms if other[0] == start].index(arm)
    colour, marker = canvas.shade(labels.arm_colour(start), place), labels.ARM_MARKERS.get(start, "v")
    return {"color": colour, "marker": marker, "ls": canvas.LINES[place % len(canvas.LINES)]}


def by_band(rows: list[dict]) -> dict[int, list[dict]]:
    """The rows of each band of frequencies, by rising frequency."""
    found: dict[int, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["band"]):
        found.setdefault(row["band"], []).append(row)
    return found


def draw_spectra(axis, rows: list[dict], styles: dict[tuple, dict], handles: dict[str, object]) -> None:
    """The radial power spectrum of each start at one K, over the expected one."""
    from .. import canvas

    bands = by_band(rows)
    least = min((row["expected"] for row in rows), default=1) / NEGLIGIBLE
    expected = [canvas.mean_and_band([row["expected"] for row in bands[band]])[0] for band in bands]
    (line,) = axis.plot(list(bands), expected, color="0.6", lw=6, alpha=0.6, solid_capstyle="round", zorder=1)
    handles["expected at t = K - 1"] = line
    for arm, style in styles.items():
        own = by_band([row for row in rows if (row["start"], row["passes"]) == arm])
        if own:
            powers = [[max(row["power"], least) for row in part] for part in own.values()]
            handles[labels.start_label(*arm)] = canvas.replicates(axis, list(own), powers, **style, markevery=0.25)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(canvas.COMPACT)
    axis.xaxis.set_major_locator(canvas.plt.MaxNLocator(4, integer=True))
    axis.set_xlabel("cycles per image", fontsize="small")
