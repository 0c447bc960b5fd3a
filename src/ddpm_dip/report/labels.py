"""Words, orders and colours for values: what figures, tables and the page call things. Light: no pandas, no Matplotlib.

A cell is here any mapping with a value on each axis of AXES, None where the axis does not apply; a row of cells.csv is
one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from ..evaluation.displays import DISPLAYS
from ..study.axes import AXES

DISPLAY_NAMES = list(DISPLAYS)
DISPLAY_LABELS = {name: f"{name} display" for name in DISPLAYS}
LAST_WEIGHTS = "last"  # these need no word beside a model's name

# The colours of Seaborn's palettes `colorblind` and `Dark2`. Orange is left out of the latter: it is the DIP arm's.
BRIGHT = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9")
DARK = ("#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#666666")
GREY = "#666666"
ALONE, ONE_STEP = "dip-alone", "gan"  # the arms without a chain: the DIP net's drawing, and a generator's
# One colour and marker per arm in every figure, in the order in which arms are listed: DIP's are warm colours, what is
# fitted to the training images' moments purple ones. Those of most studies stay apart for the colour-blind, too.
ARM_COLOURS = {
    "noise": BRIGHT[0],
    "dip": BRIGHT[3],
    "dip-renoised": "#f0b000",
    "dip-matched": "#999933",
    "dip-untrained": "#ddcc77",
    "dip-target": "#7a3b00",
    "dip-many": "#e7298a",
    "dip-every-step": BRIGHT[4],
    "mean-image": BRIGHT[2],
    "gaussian": "#4b0092",
    "gaussian-diag": "#9c8ade",
    "class-gaussians": "#882255",
    "gan-renoised": "#44aa99",
    "oracle": "#222222",
    ALONE: "#937860",
    ONE_STEP: BRIGHT[9],
}
ARM_MARKERS = {
    "noise": "o",
    "dip": "D",
    "dip-renoised": "P",
    "dip-matched": "X",
    "dip-untrained": "d",
    "dip-target": "p",
    "dip-many": "h",
    "dip-every-step": ">",
    "mean-image": "s",
    "gaussian": "^",
    "gaussian-diag": "v",
    "class-gaussians": "<",
    "gan-renoised": "H",
    "oracle": "*",
}
# Starts in words, where the name with spaces does not do; {} is where the passes stand.
STARTS = {
    "dip": "DIP{}",
    "dip-renoised": "DIP{} re-noised",
    "dip-matched": "Gaussian like DIP{}",
    "dip-untrained": "untrained DIP{}",
    "dip-target": "DIP target",
    "dip-many": "DIP{} of many images",
    "gaussian": "Gaussian",
    "gaussian-diag": "diagonal Gaussian",
    "class-gaussians": "class Gaussians",
    "gan-renoised": "GAN re-noised",
}
CHAINS = {
    "ancestral": "DDPM",
    "ancestral-small": "DDPM of small variance",
    "ddim": "DDIM",
    "dpmpp-2m": "DPM-Solver++(2M)",
}
ARM_AXES = ("start", "passes", "sampler", "clip_x0")


# ---------------------------------------------------------------- arms


def arm_of(cell: Mapping) -> str:
    """The arm's key: its start, or what draws without a chain."""
    if cell["start"] is not None:
        return cell["start"]
    return ONE_STEP if cell["epochs"] is not None else ALONE


def arm(cell: Mapping) -> str:
    """The arm in words: its start with the DIP passes, its sampler, and whether x0 is clipped."""
    return arm_label(arm_of(cell), cell["passes"], cell["sampler"], cell["clip_x0"])


def arm_label(key: str, passes: int | None = None, sampler: str | None = None, clip_x0: bool | None = False) -> str:
    """An arm's words from its parts. The sampler is the ancestral one where none is given."""
    chain = CHAINS.get(sampler or "ancestral") or AXES["sampler"].label(sampler)
    count = f"({passes})" if passes else ""
    if key == "noise":
        text = chain
    elif key == "dip-every-step":
        text = f"DIP{count} every step" + (f", {chain}" if chain != CHAINS["ancestral"] else "")
    elif key == ALONE:
        text = f"DIP{count} alone"
    elif key == ONE_STEP:
        text = "DCGAN"
    else:
        text = f"{start_label(key, passes)}+{chain}"
    return f"{text}, {AXES['clip_x0'].label(True)}" if clip_x0 else text


def start_label(key: str, passes: int | None = None) -> str:
    """A start's words, with the DIP passes."""
    count = f"({passes})" if passes else ""
    words = STARTS.get(key, AXES["start"].label(key))
    return words.format(count) if "{}" in words else words + count


def arm_colour(key: str) -> str:
    """The arm's colour. An arm unknown here takes one of the rest of the palette, always the same for its name."""
    rest = [colour for colour in BRIGHT if colour not in ARM_COLOURS.values()]
    return ARM_COLOURS.get(key) or rest[sum(map(ord, key)) % len(rest)]


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """A colour for each model of a figure."""
    return {model: DARK[index % len(DARK)] for index, model in enumerate(sorted(set(models)))}


# ---------------------------------------------------------------- cells in words


def variant(model: str, weights: str | None) -> str:
    """A model's name, with its weights where these are not the last ones."""
    return model if weights in (None, LAST_WEIGHTS) else f"{model}, {AXES['weights'].label(weights)}"


def words(axes: Sequence[str], cell: Mapping) -> str:
    """A cell's values on some axes, in words. Start, passes, sampler and clipping together are an arm."""
    parts: list[str] = []
    as_arm = "start" in axes or (cell["start"] is None and set(axes) & {*ARM_AXES, "steps", "nfe"})
    for axis in axes:
        value = cell[axis]
        if as_arm and axis in ARM_AXES:
            if arm(cell) not in parts:
                parts.append(arm(cell))
        elif as_arm and axis == "model" and arm_of(cell) == ALONE:
            continue  # no model draws it
        elif axis == "passes" and value is None:
            parts.append("noise (0)" if cell["start"] == "noise" else arm(cell))
        elif value is not None:
            parts.append(AXES[axis].label(value))
    if as_arm and arm(cell) not in parts:
        parts.append(arm(cell))
    return ", ".join(parts)


def name(cell: Mapping) -> str:
    """A cell's whole name, without what has its usual value: hw4, 20 epochs, DDPM, K = 300."""
    parts = [variant(cell["model"], cell["weights"])] if arm_of(cell) != ALONE else []
    parts += [f"replicate {cell['replicate']}"] if cell["replicate"] else []
    parts += [AXES["epochs"].label(cell["epochs"])] if cell["epochs"] is not None else []
    parts.append(arm(cell))
    parts += [AXES["steps"].label(cell["steps"])] if cell["steps"] is not None else []
    parts += [AXES["nfe"].label(cell["nfe"])] if cell["nfe"] != cell["steps"] else []
    return ", ".join(parts)


TOLD = {"steps": "K", "nfe": "NFE", "epochs": "epochs of training", "passes": "DIP passes", "clip_x0": "clipping of x0"}


def told(axes: Sequence[str], *others: str) -> str:
    """In prose, what runs along these axes, and `others`. Start, passes, sampler and clipping together are an arm."""
    names: list[str] = []
    for axis in axes:
        name = "arm" if "start" in axes and axis in ARM_AXES else TOLD.get(axis, axis)
        names += [name] if name not in names else []
    return " and ".join([*names, *others])


def titled(axes: Sequence[str]) -> str:
    """The title of a figure's axis along which these axes run."""
    return ", ".join(AXES[axis].title for axis in axes)


def key(axes: Sequence[str], cell: Mapping) -> tuple:
    """A cell's values on some axes."""
    return tuple(cell[axis] for axis in axes)


def order(axes: Sequence[str], cell: Mapping) -> tuple:
    """A sort key on some axes. Known arms have their usual order, no passes come first, and what has no chain last."""
    known = list(ARM_COLOURS)
    found = []
    for axis in axes:
        value = cell[axis]
        if axis == "start":
            arm_key = arm_of(cell)
            found.append((known.index(arm_key) if arm_key in known else len(known), arm_key))
        elif value is None and axis != "passes":
            found.append((2, ()))
        else:
            found.append((1, AXES[axis].order(value)))
    return tuple(found)


def grouped(cells: Iterable[Mapping], axes: Sequence[str]) -> dict[tuple, list[Mapping]]:
    """The cells by their values on some axes, in order."""
    groups: dict[tuple, list[Mapping]] = {}
    for cell in sorted(cells, key=lambda cell: order(axes, cell)):
        groups.setdefault(key(axes, cell), []).append(cell)
    return groups


def panels(cells: Sequence[Mapping], axes: Sequence[str], along: Sequence[str]) -> dict[tuple, list[Mapping]]:
    """The cells of each panel. A panel to which the axes `along` do not apply is none: its cells are in all others.

    So what DIP draws alone, which has no K, stands beside every model's curve along K.
    """
    groups = grouped(cells, axes)
    if not axes or not along:
        return groups
    shared = {at: part for at, part in groups.items() if all(cell[axis] is None for cell in part for axis in along)}
    if len(shared) == len(groups):
        return groups
    everywhere = [cell for part in shared.values() for cell in part]
    return {at: part + everywhere for at, part in groups.items() if at not in shared}


def alike(cells: Sequence[Mapping], axes: Sequence[str]) -> str:
    """In words, the values that all cells share on some of the axes, so that a title can say them once."""
    shared = [axis for axis in axes if len({cell[axis] for cell in cells}) == 1]
    shared = [axis for axis in shared if axis != "weights" or cells[0][axis] != LAST_WEIGHTS]
    return words(shared, cells[0]) if cells and shared else ""


def way(sampler: str | None, noise: str | None) -> str:
    """How the images between two latents were sampled, in words."""
    if sampler is None:
        return "DCGAN"
    return {"ddim": "DDIM"}.get(sampler, f"{AXES['sampler'].label(sampler)}, {noise} noise" if noise else sampler)


def metric_title(metric: str) -> str:
    """A metric for a figure's axis."""
    return {
        "fd_classifier": "Fréchet distance, jackknifed\n(classifier features)",
        "fd_classifier_se": "standard error of the\nFréchet distance",
        "fd_classifier_2": "Fréchet distance, jackknifed\n(second classifier's features)",
        "energy_classifier": "energy distance\n(classifier features)",
        "fd_rotation": "Fréchet distance, jackknifed\n(rotation net's features)",
        "fd_rotation_se": "standard error of the\nFréchet distance",
        "fd_rotation_2": "Fréchet distance, jackknifed\n(second rotation net's features)",
        "energy_rotation": "energy distance\n(rotation net's features)",
        "precision_rotation": "precision\n(rotation net's features)",
        "recall_rotation": "recall\n(rotation net's features)",
        "coverage_rotation": "coverage\n(rotation net's features)",
        "fid_inception": "FID (Inception)",
        "precision": "precision\n(classifier features)",
        "recall": "recall\n(classifier features)",
        "coverage": "coverage\n(classifier features)",
        "class_entropy": "class entropy (nats)",
        "noise_mad": "noise left, sd\n(Haar MAD, 0 to 1)",
        "nn_ratio": "distance to the nearest real\nimage (1: as real ones)",
        "tone_sd": "sd over samples of the\nimage mean (0 to 1)",
        "image_mean_sd": "sd over samples of the\nimage mean (raw)",
        "diverged": "share of diverged samples",
        "seconds": "seconds per image",
    }.get(metric, metric.replace("_", " "))


def metric_word(metric: str) -> str:
    """A metric for a table's head."""
    words = {
        "fd_classifier": "FD",
        "fd_classifier_se": "SE of FD",
        "fd_classifier_2": "FD of classifier 2",
        "energy_classifier": "energy distance",
        "fd_rotation": "FD (rotation net)",
        "fd_rotation_se": "SE of FD",
        "fd_rotation_2": "FD of rotation net 2",
        "energy_rotation": "energy distance",
        "fid_inception": "FID",
        "class_entropy": "class entropy",
        "noise_mad": "noise left",
        "nn_ratio": "nearest-neighbour ratio",
        "diverged": "share diverged",
        "seconds": "s/image",
    }
    return words.get(metric, metric.replace("_", " "))


def value(cell: Mapping, metric: str) -> float | None:
    """A metric of a row of cells.csv: infinite where the images diverged, None where it was not computed."""
    found = cell.get(metric)
    if found is not None and found == found:
        return found
    return math.inf if (cell.get("diverged") or 0) > 0 else None


# ---------------------------------------------------------------- settings and numbers


def flatten(value: object, at: str = "") -> dict[str, object]:
    """Nested settings by dotted key. A list is a value."""
    if not isinstance(value, dict) or not value:
        return {at: value}
    return {
        name: setting
        for part in value
        for name, setting in flatten(value[part], f"{at}.{part}" if at else str(part)).items()
    }


def with_error(value: float, error: float) -> str:
    """A value and its spread, of two digits; the value alone where the spread is unknown."""
    if not math.isfinite(error):
        return compact(value)
    return f"{compact(value)} ± {compact(error) if error >= 9.95 else f'{error:.2g}'}"


def compact(value: float | None) -> str:
    """A number in at most six characters or so: 0.042, 4.2, 123, 12k, 3.4M, 5.6e12."""
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if size < 1e-3 and size > 0:
        return f"{value:.1e}"
    if size < 1:
        return f"{value:.3f}"
    if size < 9.95:
        return f"{value:.2f}" if size < 1.995 else f"{value:.1f}"
    if size < 999.5:
        return f"{value:.0f}"
    for unit, letter in ((1e3, "k"), (1e6, "M")):
        if size < 999.5 * unit:
            return f"{value / unit:.1f}{letter}" if size < 9.95 * unit else f"{value / unit:.0f}{letter}"
    return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
