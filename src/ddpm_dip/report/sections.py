"""The page's sections: each with its template, when it applies, and what the template is told. In the page's order."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..evaluation.metrics import OF_ROTATIONS
from . import claims as told
from . import labels, published, tables
from .labels import compact
from .plan import section

PUBLISHED_NETS = ("hw4", "imvfx")  # they normalise their whole input, and so cannot see brightness
WIDE = 8  # columns of numbers that a table of an experiment may have before it is turned into rows


class Study(NamedTuple):
    """What the page says of the study: its settings, and its experiments by name.

    experiments: name -> title, cells (the paths of its cells) and show (kind of figure -> role -> axes); contrasts:
    claim, model and strata, pairs of lists of cells' paths; timesteps: how many each model with a chain has in all;
    display: the one that its claims of saved steps go by.
    """

    config: dict
    experiments: dict[str, dict]
    contrasts: list[dict] = []
    timesteps: dict[str, int] = {}
    display: str = "clamp"


class Report(NamedTuple):
    """All that the page is made from.

    tables: by name, cells among them, as `tables.with_floors` returns it; figures: as `plan.Wanted`, each with `image`,
    a picture for the page; records: by the path of the result; reasons: why a metric was not computed, by metric.
    """

    study: Study
    tables: Mapping[str, pd.DataFrame]
    figures: list[dict]
    records: dict[str, dict]
    reasons: dict[str, list[str]]

    def table(self, name: str) -> pd.DataFrame | None:
        """A table with rows, or None."""
        found = self.tables.get(name)
        return None if found is None or found.empty else found


class Kind(NamedTuple):
    """A section that any page may have: context tells the template what it shows."""

    key: str
    title: str
    template: str
    applies: Callable[[Report], bool]
    context: Callable[[Report], dict]


class Section(NamedTuple):
    """A section of one page."""

    key: str
    title: str
    template: str
    context: dict


def sections(report: Report) -> list[Section]:
    """The sections of a page, in order: what the models draw, the experiments, and what else there is."""
    shared = {"distance": tables.distance(report.tables["cells"])}
    found = []
    for kind in KINDS:
        if kind is EXPERIMENTS:
            found += experiments(report)
        elif kind.applies(report):
            found.append(Section(kind.key, kind.title, kind.template, kind.context(report)))
    return [each._replace(context=shared | {"groups": groups(report, each.key)} | each.context) for each in found]


def groups(report: Report, key: str) -> list[dict]:
    """A section's figures, neighbours under one title together."""
    found: list[dict] = []
    for figure in report.figures:
        if figure["section"] != key:
            continue
        if not found or found[-1]["title"] != figure["title"]:
            found.append({"title": figure["title"], "figures": []})
        found[-1]["figures"].append(figure)
    return found


def has_figures(key: str) -> Callable[[Report], bool]:
    return lambda report: any(figure["section"] == key for figure in report.figures)


# ---------------------------------------------------------------- an experiment


def experiments(report: Report) -> Iterator[Section]:
    """A section an experiment: its figures, its prose where there is some, and a table of its cells' distances."""
    cosine = setting(report.study.config, "training", "lr_schedule") == "cosine"
    for name, part in report.study.experiments.items():
        title = str(part["title"])
        found = distance_tables(report.tables["cells"], part)
        several = len({row["replicate"] for row in tables.rows_of(report.tables["cells"], part["cells"])}) > 1
        spread = "standard deviation over replicates" if several else "standard error over blocks of images"
        shown = any("±" in text for table in found for row in table["rows"] for text in row)
        context = {"name": name, "tables": found, "cosine": cosine, "spread": spread if shown else ""}
        yield Section(section(name), title[:1].upper() + title[1:], "experiment.html.j2", context)


def roles_of(part: dict) -> tuple[list[str], list[str], list[str]]:
    """What the rows, columns and tables of an experiment's table are told apart by: the roles of its first figure."""
    for kind in ("curves", "heatmap", "strips"):
        if kind in part["show"]:
            roles = part["show"][kind]
            down = roles.get("line", []) if kind == "curves" else roles["row"]
            return list(down), list(roles["x"] if "x" in roles else roles["block"]), list(roles["panel"])
    return ["model", "epochs", "start"], ["steps"], []


def distance_tables(cells: pd.DataFrame, part: dict) -> list[dict]:
    """An experiment's distances, a table a panel: {"title", "head", "rows"}. None is called best: see `arms`."""
    rows = tables.rows_of(cells, part["cells"])
    judged_by = tables.distance(cells)
    asked = setting(part["show"], "curves", "metric") or []
    metrics = dict.fromkeys([judged_by, "fid_inception", *([asked] if isinstance(asked, str) else asked)])
    metrics = [metric for metric in metrics if any(known(row.get(metric)) for row in rows)]
    if not metrics:
        return []
    down, across, panel = roles_of(part)
    found = []
    for own in labels.panels(rows, panel, across).values():
        columns = [key for key in labels.grouped(own, across) if None not in key] or [()]
        wide = len(columns) * len(metrics) * len(labels.DISPLAY_NAMES) <= WIDE
        table = (wide_table if wide else long_table)(own, down, across, metrics, judged_by)
        found.append({"title": labels.words(panel, own[0]), "numeric_from": 1 if wide else 2} | table)
    return found


def wide_table(rows: list[dict], down: list[str], across: list[str], metrics: list[str], judged_by: str) -> dict:
    """A row an arm, a column a place across, metric and display."""
    places = {key: same[0] for key, same in labels.grouped(rows, across).items() if across and None not in key}
    places = places or {None: None}
    columns = [(m, key, d) for m in metrics for key in places for d in labels.DISPLAY_NAMES]
    lines = []
    for same in labels.grouped(rows, down).values():
        for alone, part in (
            (False, [r for r in same if placed(r, across)]),
            (True, [r for r in same if not placed(r, across)]),
        ):
            if part:
                here = [
                    [r for r in part if r["display"] == d and (alone or key is None or labels.key(across, r) == key)]
                    for _, key, d in columns
                ]
                values = [mean_text([r[m] for r in rs]) for (m, *_), rs in zip(columns, here, strict=True)]
                name = labels.words(down, part[0]) or labels.arm(part[0])
                lines.append((name + " (no chain)" * (alone and part[0]["start"] is None), values))
    body = [[name, *values] for name, values in lines]
    head = [labels.told(down) or "arm"]
    for metric, key, display in columns:
        short = "" if metric == judged_by == "fd_classifier" else labels.metric_word(metric)
        head.append(", ".join(filter(None, [short, key and labels.words(across, places[key]), display])))
    floors = [floor_of(rows, metric, display) for metric, _, display in columns]
    return {"head": head, "rows": [*body, ["floor (real against real)", *floors]]}


def long_table(rows: list[dict], down: list[str], across: list[str], metrics: list[str], judged_by: str) -> dict:
    """A row a place across and arm, a column a metric and display: for many places."""
    columns = [(metric, None, display) for metric in metrics for display in labels.DISPLAY_NAMES]
    body = []
    for same in labels.grouped(rows, across).values():
        lines = []
        for part in labels.grouped(same, down).values():
            values = []
            for metric, _, display in columns:
                here = [row for row in part if row["display"] == display]
                alone = len(here) == 1 and f"{metric}_se" in tables.METRICS
                values.append(mean_text([row[metric] for row in here], here[0][f"{metric}_se"] if alone else np.nan))
            lines.append(
                (labels.words(across, part[0]) or "–", labels.words(down, part[0]) or labels.arm(part[0]), values)
            )
        body += [[place, name, *values] for place, name, values in lines]
    head = [labels.told(across), labels.told(down) or "arm", *(f"{labels.metric_word(m)}, {d}" for m, _, d in columns)]
    floors = [floor_of(rows, metric, display) for metric, _, display in columns]
    return {"head": head, "rows": [*body, ["floor (real against real)", "", *floors]]}


def placed(row: dict, across: list[str]) -> bool:
    return all(row[axis] is not None for axis in across)


def known(value: float | None) -> bool:
    return value is not None and value == value


def mean_and_sd(values) -> tuple[float, float]:
    """Mean over replicates and their standard deviation, NaN where there are too few."""
    found = [value for value in values if known(value)]
    return (float(np.mean(found)) if found else np.nan), (float(np.std(found, ddof=1)) if len(found) > 1 else np.nan)


def mean_text(values: list, error: float = np.nan) -> str:
    """The mean over replicates with their standard deviation, else `error`, and how many of them have a value."""
    value, sd = mean_and_sd(values)
    count = sum(map(known, values))
    text = labels.with_error(value, sd if np.isfinite(sd) else error)
    return text if count in (0, len(values)) else f"{text} ({count} of {len(values)} nets)"


def floor_of(rows: list[dict], metric: str, display: str) -> str:
    found = [row.get(f"{metric}_floor") for row in rows if row["display"] == display]
    found = [value for value in found if known(value)]
    if metric not in tables.DISTANCES:
        return ""
    return compact(float(np.median(found))) if found else "–"


# ---------------------------------------------------------------- the others


def arms(report: Report) -> dict:
    """Every arm with its paired difference to the starts that cost nothing."""
    rows = []
    for each in told.standing(report.tables["differences"], report.study.display):
        cell = each["cell"]
        where = [labels.AXES["steps"].label(cell["steps"])] if known(cell["steps"]) else []
        where += [labels.AXES["nfe"].label(cell["nfe"])] if cell["nfe"] != cell["steps"] else []
        model = labels.variant(cell["model"], cell["weights"])
        epochs = labels.AXES["epochs"].label(int(cell["epochs"])) if known(cell["epochs"]) else ""
        differences = [told.against(each["against"].get(start)) for start in ("noise", "gaussian")]
        rows.append([model, epochs, ", ".join(where), labels.arm(cell), *differences])
    head = ["model", "trained for", "chain", "arm", "against noise", "against gaussian"]
    return {"arms": {"head": head, "rows": rows}, "display": report.study.display}


def time(report: Report) -> dict:
    """What starts and steps take, and an image's time by K that follows, beside whole chains and published times."""
    timing = report.table("timing")
    if timing is None:
        return {"costs": {"head": [], "rows": []}, "times": {"head": [], "rows": []}}
    models = list(timing.groupby("model")["seconds"].agg(tuple).drop_duplicates().index)  # no copies of a net's rows
    columns = [(model, batch) for model in models for batch in sorted(timing["batch"].unique())]
    names = [f"{model}, batch {batch}" for model, batch in columns]
    own = timing[timing["model"].isin(models)]
    parts = own.loc[own["what"] != "chain", ["what", "start", "passes", "sampler", "clip_x0"]].drop_duplicates()
    costs = []
    for part in parts.to_dict("records"):
        row = [cost_name(part)]
        for model, batch in columns:
            rows = own[(own["model"] == model) & (own["batch"] == batch)]
            for axis, value in part.items():
                rows = rows[rows[axis].isna() if value is None else rows[axis] == value]
            row.append(quartiles(1000 * rows["seconds"]))
        costs.append(row)
    arms = [(arm, batch) for model, batch in columns for arm in tables.timed_arms(timing, model)]
    arms = [(arm, batch) for arm, batch in arms if arm["start"] in ("noise", "dip")]
    chains = own[own["what"] == "chain"]
    rows = []
    for k in sorted({*published.TIMING_STEPS, *chains["steps"]}):
        row = [str(k), *(quartiles(tables.seconds(timing, arm | {"nfe": k}, batch)) for arm, batch in arms)]
        for model, batch in columns:
            at = (chains["steps"] == k) & (chains["model"] == model) & (chains["batch"] == batch)
            row.append(quartiles(chains.loc[at, "seconds"]))
        for old in published.TIMING_SECONDS.values():
            at = dict(zip(published.TIMING_STEPS, old, strict=True))
            row.append(f"{at[k]:.3f}" if k in at else "–")
        rows.append(row)
    head = ["K", *(f"{labels.arm(arm)}: {arm['model']}, batch {batch}" for arm, batch in arms)]
    head += [f"whole chain measured: {name}" for name in names]
    head += [f"{name}: {published.TIMING_SOURCE}" for name in ("DDPM", "DIP(2)+DDPM")]
    return {"costs": {"head": ["measured", *names], "rows": costs}, "times": {"head": head, "rows": rows}}


def cost_name(part: dict) -> str:
    """A measured start or step in words."""
    passes = f"({part['passes']})" if part["passes"] else ""
    if part["what"] == "start":
        return f"start {part['start']}{passes}, an image"
    shown = "" if part["start"] == "noise" else f", start {part['start']}{passes}"
    return f"step of {labels.CHAINS.get(part['sampler'], part['sampler'])}{', x0 clipped' * part['clip_x0']}{shown}"


def quartiles(values) -> str:
    """Median (quartiles), or a dash where there is nothing."""
    found = [value for value in values if known(value)]
    if not found:
        return "–"
    low, middle, high = np.percentile(found, [25, 50, 75])
    return f"{middle:#.3g} ({low:#.3g}–{high:#.3g})"


def training(report: Report) -> dict:
    config = report.study.config
    return {
        "losses": loss_table(report.table("training"), published.net_is_trained(config)),
        "gan_losses": gan_loss_table(report.table("gan_training")),
        "cosine": setting(config, "training", "lr_schedule") == "cosine",
    }


def loss_table(training: pd.DataFrame | None, with_published: bool) -> dict:
    """A row a U-Net, means over replicates; the published net's beside them where that compares."""
    rows = []
    for model, part in () if training is None else training.groupby("model"):
        by_epoch = part.groupby("epoch")["loss"].mean()
        pace = part["seconds"].median()
        rows.append([model, str(len(by_epoch)), f"{by_epoch.iloc[0]:.4f}", f"{by_epoch.iloc[-1]:.4f}", f"{pace:.3g}"])
    if rows and with_published:
        old = published.TRAINING_LOSS
        name = f"hw4: {published.TRAINING_SOURCE}"
        rows.append([name, str(max(old)), f"{old[1]:.3f}", f"{old[max(old)]:.3f}", "–"])
    return {"head": ["model", "epochs", "loss, epoch 1", "loss, last epoch", "seconds an epoch"], "rows": rows}


def gan_loss_table(training: pd.DataFrame | None) -> dict:
    rows = []
    for model, part in () if training is None else training.groupby("model"):
        last, pace = part.groupby("epoch")[["loss_d", "loss_g"]].mean().iloc[-1], part["seconds"].median()
        epochs = part["epoch"].nunique()
        rows.append([model, str(epochs), f"{last['loss_d']:.3f}", f"{last['loss_g']:.3f}", f"{pace:.3g}"])
    head = ["model", "epochs", "discriminator, last epoch", "generator, last epoch", "seconds an epoch"]
    return {"head": head, "rows": rows}


def interpolation(report: Report) -> dict:
    table = report.tables.get("interpolation")
    return {
        "between": {display: interpolation_table(table, display) for display in reversed(labels.DISPLAY_NAMES)},
        "spaces": set() if table is None else set(table["space"]),
        "diverged": "; ".join(report.reasons.get("measures", [])),
    }


def interpolation_table(table: pd.DataFrame | None, display: str) -> dict:
    """A row a model, sampler and path: means over pairs with their standard errors, under one display."""
    if table is None:
        return {"head": [], "rows": []}
    spaces = [space for space in ("pixels", "classifier") if space in set(table["space"])]
    words = {"end_to_end": "end to end", "path_ratio": "path / end to end", "largest_share": "largest step's share"}
    columns = [(measure, space) for measure in words for space in spaces]
    words |= {"pixels": "pixels", "classifier": "features"}
    head = ["model", "sampler", "path", *(f"{words[measure]}, {words[space]}" for measure, space in columns)]
    rows = []
    for (model, sampler, noise, path), part in table[table["display"] == display].groupby(
        ["model", "sampler", "noise", "path"], dropna=False
    ):
        chain, own = (None if pd.isna(value) else value for value in (sampler, noise))
        row = [model, labels.way(chain, own), path]
        for measure, space in columns:
            values = part.loc[part["space"] == space, measure].dropna()
            row.append(labels.with_error(float(values.mean()), float(values.sem())))
        rows.append(row)
    return {"head": head, "rows": rows}


def brightness(report: Report) -> dict:
    """Standard deviation over samples of the final image mean: model and arm by K."""
    rows_of = [row for row in tables.rows_of(report.tables["cells"]) if drifts(row)]
    largest: dict[str, int] = {}
    for row in rows_of:
        largest[row["model"]] = max(largest.get(row["model"], 0), row["epochs"])
    rows_of = [row for row in rows_of if row["epochs"] == largest[row["model"]]]
    ks, rows = sorted({row["steps"] for row in rows_of}), []
    for same in labels.grouped(rows_of, ["model", "weights", "start", "passes"]).values():
        at = {
            key[0]: mean_and_sd(row["image_mean_sd"] for row in part)[0]
            for key, part in labels.grouped(same, ["steps"]).items()
        }
        name = labels.variant(same[0]["model"], same[0]["weights"])
        rows.append([name, labels.arm(same[0]), *(compact(at.get(k, float("nan"))) for k in ks)])
    rows.sort(key=lambda row: (row[0], not row[1].startswith("DDPM")))
    head = ["model", "arm", *(f"K = {k}" for k in ks)]
    return {"brightness": {"head": head, "rows": rows}, "published_net": has_published_net(report)}


def drifts(row: dict) -> bool:
    """Whether a row is one of the usual chains: all of K by the ancestral sampler, from noise or two DIP passes."""
    usual = row["start"] == "noise" or (row["start"] == "dip" and row["passes"] == labels.AXES["passes"].default)
    chain = row["sampler"] == "ancestral" and row["nfe"] == row["steps"] and not row["clip_x0"]
    return usual and chain and row["display"] == labels.DISPLAY_NAMES[0] and known(row["image_mean_sd"])


def has_published_net(report: Report) -> bool:
    return any(model.get("network") in PUBLISHED_NETS for model in models_of(report.study.config).values())


def cells(report: Report) -> dict:
    """Every row of cells.csv, with its cell's path; without those of images without labels where none was taken."""
    rows, table = [], tables.with_paths(report.tables["cells"])
    empty = {name for name in OF_ROTATIONS.values() if table[name].isna().all()}
    columns = [name for name in tables.CELL_COLUMNS if name not in empty]
    for record in table[columns].to_dict("records"):
        row = []
        for column, value in record.items():
            if column in tables.METRICS:
                row.append(f"{value:.4g}" if known(value) else "not computed")
            elif column == "seconds":
                row.append(f"{value:.4g}" if known(value) else "–")
            else:
                row.append("–" if value is None else str(value))
        rows.append(row)
    return {"all_cells": {"head": columns, "rows": rows, "paths": list(table["path"])}}


def settings(report: Report) -> dict:
    found: dict[str, set[str]] = {}
    for record in report.records.values():
        for name, version in (record.get("versions") or {}).items():
            found.setdefault(name, set()).add(str(version))
    return {
        "settings": [(key, in_words(value)) for key, value in labels.flatten(report.study.config).items()],
        "versions": [(name, ", ".join(sorted(versions))) for name, versions in sorted(found.items())],
        "machines": sorted({record["machine"] for record in report.records.values() if record.get("machine")}),
    }


def in_words(value: object) -> str:
    """A setting's value."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return "(not set)" if value is None or value == {} else str(value)


def provenance(report: Report) -> dict:
    """Files and seconds by the stage that made them, and each file."""
    stages: dict[str, list[float]] = {}
    for record in report.records.values():
        stages.setdefault(stage_of(record), []).append(float(record.get("seconds") or 0))
    totals = [[name, str(len(times)), f"{sum(times):.1f}"] for name, times in stages.items()]
    files = [
        [path, stage_of(record), str(record.get("sha256", "–")), f"{float(record.get('seconds') or 0):.2f}"]
        for path, record in sorted(report.records.items())
    ]
    return {
        "stages": {"head": ["stage", "files", "seconds"], "rows": sorted(totals, key=lambda row: -float(row[2]))},
        "files": {"head": ["file", "stage", "sha256", "seconds"], "rows": files},
    }


def stage_of(record: dict) -> str:
    return str(setting(record, "job", "stage") or "–")


def setting(config: dict, *keys: str) -> object:
    """A nested value, or None."""
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def models_of(config: dict) -> dict[str, dict]:
    return {name: model for name, model in (config.get("models") or {}).items() if isinstance(model, dict)}


def nothing(report: Report) -> dict:
    return {}


def always(report: Report) -> bool:
    return True


EXPERIMENTS = Kind("experiments", "", "experiment.html.j2", always, nothing)  # stands for one section each
KINDS = (
    Kind("gallery", "What the models draw", "gallery.html.j2", has_figures("gallery"), nothing),
    EXPERIMENTS,
    Kind("starts", "What each start gives the chain", "gallery.html.j2", has_figures("starts"), nothing),
    Kind("arms", "Arm by arm", "arms.html.j2", lambda report: report.table("differences") is not None, arms),
    Kind(
        "time",
        "Time per image against K",
        "time.html.j2",
        lambda report: report.table("timing") is not None or has_figures("time")(report),
        time,
    ),
    Kind(
        "training",
        "Training losses",
        "training.html.j2",
        lambda report: any(report.table(name) is not None for name in ("training", "gan_training")),
        training,
    ),
    Kind(
        "interpolation",
        "Between two latents",
        "interpolation.html.j2",
        lambda report: "interpolation" in report.tables,
        interpolation,
    ),
    Kind("dip-fit", "The DIP fit", "dip-fit.html.j2", has_figures("dip-fit"), nothing),
    Kind(
        "brightness",
        "Brightness drift: a defect of the published net",
        "brightness.html.j2",
        lambda report: has_published_net(report) or has_figures("brightness")(report),
        brightness,
    ),
    Kind("cells", "All cells", "cells.html.j2", always, cells),
    Kind("settings", "Settings and versions", "settings.html.j2", always, settings),
    Kind(
        "provenance",
        "Where every file comes from",
        "provenance.html.j2",
        lambda report: bool(report.records),
        provenance,
    ),
)
