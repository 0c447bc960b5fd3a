"""The report: one self-contained HTML page, and a short table for the terminal."""

import base64
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import published, tables, verdicts_b
from . import verdicts as verdicts_a
from .tables import arm_label, compact, largest_budget
from .verdicts import AGREES, DISAGREES, NOT_DECIDED, RULE, tally, usual_passes

EXPERIMENTS = ("quality", "passes", "epochs", "dip_in_training")  # those that have strips
STUDY_A = ("steps", *EXPERIMENTS)
FIGURE_DPI = 150  # the figures' pixels per 100 CSS pixels of the page
DISPLAYS = "|".join(tables.DISPLAY_NAMES)


def page(
    config: dict,
    cells: pd.DataFrame,
    timing: pd.DataFrame | None,
    training: pd.DataFrame | None,
    images: dict[str, bytes],
    provenance: dict[str, dict],
    reasons: dict[str, list[str]],
    evolution: pd.DataFrame | None = None,
    interpolation: pd.DataFrame | None = None,
    gan_training: pd.DataFrame | None = None,
) -> str:
    """The page's HTML.

    cells, evolution: as `tables.read_cells` returns them; images: PNG and GIF files' bytes by file name;
    provenance: records by path; reasons: why a metric was not computed, by metric.
    A section whose parts are missing is left out, and so are a study's claims that has none.
    """
    study_b = evolution is not None or interpolation is not None
    study_a = not study_b or timing is not None or any(setting(config, "experiments", name) for name in STUDY_A)
    embedded = {name: embed(name, data) for name, data in sorted(images.items())}
    with_dip = [model["name"] for model in model_settings(config) if model.get("dip_passes")]
    strips = {experiment: find_strips(embedded, f"strip.{experiment}") for experiment in EXPERIMENTS}
    animations = find_animations(embedded)
    inside = inside_table(cells, with_dip)
    present = {
        "time": (timing is not None and len(timing) > 0) or "time-against-steps.png" in embedded,
        "quality": bool(
            strips["quality"]
            or animations
            or {"distance-against-steps.png", "gallery-minmax.png", "gallery-clamp.png"} & set(embedded)
        ),
        "passes": bool(strips["passes"] or "passes-heatmap.png" in embedded),
        "epochs": bool(
            strips["epochs"]
            or {"epochs.png", "loss.png", "gan-loss.png"} & set(embedded)
            or not (training is None and gan_training is None)
        ),
        "inside": bool(strips["dip_in_training"] or inside["rows"]),
        "evolution": evolution is not None,
        "interpolation": interpolation is not None,
        "fit": "dip-fit.png" in embedded,
        "brightness": "brightness-drift.png" in embedded,
        "cells": True,
        "settings": True,
        "provenance": bool(provenance),
    }
    titles = {
        "time": "Time per image against K",
        "quality": "Quality at a given K" if study_a else "What the models draw",
        "passes": "How many DIP passes",
        "epochs": "Epoch budgets and training loss",
        "inside": "DIP inside training",
        "evolution": "DDPM and DCGAN as training goes on",
        "interpolation": "Between two latents",
        "fit": "The DIP fit",
        "brightness": "Brightness drift: a defect of the published net",
        "cells": "All cells",
        "settings": "Settings and versions",
        "provenance": "Where every file comes from",
    }
    sections = {key: title for key, title in titles.items() if present[key]}
    numbers = {key: number for number, key in enumerate(sections, start=1)}
    networks = {model["name"]: model.get("network", model["name"]) for model in model_settings(config)}
    judged = verdicts_a.verdicts(cells, timing, networks, with_dip) if study_a else []
    judged += verdicts_b.verdicts(evolution, interpolation) if study_b else []
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["compact"] = compact
    return environment.get_template("report.html.j2").render(
        study=str(config.get("study", "study")),
        cosine=setting(config, "training", "lr_schedule") == "cosine",
        study_a=study_a,
        study_b=study_b,
        dataset=", ".join(sorted(set(cells["dataset"].dropna().astype(str)))),
        size=config.get("data", {}).get("image_size"),
        n=sorted(set(cells["n"].dropna())),
        n_reference=sorted(set(cells["n_reference"].dropna())),
        sections=sections,
        numbers=numbers,
        verdicts=judged,
        counts={word: sum(v.verdict == word for v in judged) for word in (AGREES, DISAGREES, NOT_DECIDED)},
        tally=tally,
        rule=RULE,
        figures=embedded,
        strips=strips,
        animations=animations,
        times=time_table(timing),
        qualities=quality_tables(cells, config, with_dip),
        losses=loss_table(training, config),
        gan_losses=gan_loss_table(gan_training),
        evolution=evolution_table(evolution),
        interpolation={display: interpolation_table(interpolation, display) for display in tables.DISPLAY_NAMES},
        grids={display: f"evolution-grid.{display}.png" for display in tables.DISPLAY_NAMES},
        between=find_strips(embedded, "interpolation"),
        spaces=set() if interpolation is None else set(interpolation["space"]),
        labelled=tables.distance(cells)[0] == "fd_classifier",
        diverged="; ".join(reasons.get("measures", [])),
        inside=inside,
        brightness=brightness_table(cells),
        all_cells=all_cells_table(cells),
        fid=fid_note(cells, reasons),
        dip_fit=published.DIP_FIT,
        settings=flatten(config),
        versions=versions(provenance.values()),
        machines=sorted({record["machine"] for record in provenance.values() if record.get("machine")}),
        stages=stage_table(provenance),
        provenance=provenance_table(provenance),
    )


def summary(cells: pd.DataFrame, timing: pd.DataFrame | None, config: dict, output: str, lines: int = 25) -> str:
    """The best arm per model and K in 100 columns; the last line says where the page is."""
    metric, floor = tables.distance(cells)
    table = largest_budget(cells).dropna(subset=[metric])
    table = table[table["model"] != ""]
    seconds = {}
    if timing is not None and len(timing):
        first = timing[(timing["batch"] == timing["batch"].min()) & (timing["method"] == "ddpm")]
        seconds = dict(zip(first["steps"], first["median_s"], strict=True))
    name, by = "FD", "Fréchet distance on classifier features"
    if metric == "fid_inception":
        name, by = (
            "FID",
            "FID" if len(table) else "FID, which was not computed; there are no labels for another distance",
        )
    title = f"{config.get('study', 'study')}: best arm by {by}"
    columns = "".join(f"  {d + ': best arm':<18}{name:>7}{'floor':>6}" for d in tables.DISPLAY_NAMES)
    head = f"{'model':<16}{'K':>5}{columns}{'s/img':>8}"
    body = []
    for (name, k), part in table.groupby(["variant", "steps"], sort=True):
        cut = [f"{name if len(name) < 16 else name[:14] + '…':<16}{k:>5}"]
        for display in tables.DISPLAY_NAMES:
            shown = part[part["display"] == display]
            if shown.empty:
                cut.append(f"{'–':<18}{'–':>7}{'–':>6}")
                continue
            best = shown.loc[shown[metric].idxmin()]
            label = arm_label(best["arm"], best["passes"])[:18]
            cut.append(f"{label:<18}{compact(best[metric]):>7}{compact(best[floor]):>6}")
        time = seconds.get(k)
        body.append("  ".join(cut) + (f"{time:>8.3g}" if time is not None else f"{'–':>8}"))
    room = lines - 4
    if len(body) > room:
        body = [*body[: room - 1], f"... and {len(body) - room + 1} more rows in the report"]
    ended = "floor: real against real; s/img: median seconds per image, DDPM, smallest batch timed"
    return "\n".join(line[:100] for line in (title, head, *body, ended)) + f"\nreport: {output}\n"


# ---------------------------------------------------------------- pictures


def embed(name: str, data: bytes) -> dict:
    """A picture as a data address, with its size on the page in CSS pixels."""
    if name.endswith(".gif"):
        width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
        kind = "gif"
    else:
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        width, height = (round(side * 100 / FIGURE_DPI) for side in (width, height))
        kind = "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"src": source, "width": width, "height": height, "kind": kind}


def find_strips(embedded: dict, prefix: str) -> dict[str, list[dict]]:
    """The pictures named <prefix>.<model>.<display>.png by model, minmax first."""
    found: dict[str, list[dict]] = {}
    for display in tables.DISPLAY_NAMES:
        for name, image in embedded.items():
            if match := re.fullmatch(rf"{re.escape(prefix)}\.([^.]+)\.{display}\.png", name):
                found.setdefault(match[1], []).append({"display": display, "image": image})
    return dict(sorted(found.items()))


def find_animations(embedded: dict) -> dict[str, list[dict]]:
    """The denoising GIFs by model, ordered by K, display and arm."""
    found: dict[str, list[dict]] = {}
    for name, image in embedded.items():
        match = re.fullmatch(rf"denoising\.([^.]+)\.([^.]+?)(?:-p(\d+))?\.K(\d+)\.({DISPLAYS})\.gif", name)
        if match:
            model, start, passes, steps, display = match.groups()
            arm = arm_label(start, int(passes or 0))
            entry = {"arm": arm, "steps": int(steps), "display": display, "image": image}
            found.setdefault(model, []).append(entry)
    order = {display: rank for rank, display in enumerate(tables.DISPLAY_NAMES)}
    for entries in found.values():
        entries.sort(key=lambda entry: (entry["steps"], order[entry["display"]], entry["arm"]))
    return dict(sorted(found.items()))


# ---------------------------------------------------------------- tables: {"head": [...], "rows": [[...]]}


def time_table(timing: pd.DataFrame | None) -> dict:
    """A row per K: our median and quartiles by method and batch, and the published times."""
    if timing is None or timing.empty:
        return {"head": [], "rows": [], "alone": []}
    chains = timing[timing["method"] != "dip"]
    columns = sorted({(r.batch, r.method, r.passes) for r in chains.itertuples()})
    label = {"ddpm": "noise", "dip+ddpm": "dip"}
    head = ["K"] + [f"{arm_label(label.get(m, m), p)}, batch {b}" for b, m, p in columns]
    known = {(r.batch, r.method, r.passes, r.steps): r for r in chains.itertuples()}
    rows = []
    for k in sorted(set(chains["steps"])):
        row = [str(k)]
        for column in columns:
            r = known.get((*column, k))
            row.append(f"{r.median_s:#.3g} ({r.q1_s:#.3g}–{r.q3_s:#.3g})" if r else "–")
        for method in ("ddpm", "dip+ddpm"):
            old = dict(zip(published.TIMING_STEPS, published.TIMING_SECONDS[method], strict=True))
            row.append(f"{old[k]:.3f}" if k in old else "–")
        rows.append(row)
    head += [f"{name}: {published.TIMING_SOURCE}" for name in ("DDPM", "DIP(2)+DDPM")]
    alone = [
        f"DIP({r.passes}) alone, batch {r.batch}: {r.median_s:.3g} s per image"
        for r in timing[timing["method"] == "dip"].itertuples()
    ]
    return {"head": head, "rows": rows, "alone": alone}


def quality_tables(cells: pd.DataFrame, config: dict, with_dip: list[str]) -> dict[str, dict]:
    """Per model: distances, arms by (K, display), each column's best marked; FID where computed."""
    table = largest_budget(cells).dropna(subset=["fd_classifier"])
    asked = setting(config, "experiments", "quality", "steps")
    asked = {int(k) for k in asked} if isinstance(asked, list) else set()
    inside = set(table.loc[table["model"].isin(with_dip), "variant"])  # these have a table of their own
    found = {}
    for name, part in table[(table["model"] != "") & ~table["variant"].isin(inside)].groupby("variant"):
        passes = usual_passes(part)
        part = part[part["passes"].isin([0, passes])]
        ks = sorted(k for k in set(part["steps"]) if part.loc[part["steps"] == k, "arm"].nunique() > 1)
        ks = [k for k in ks if k in asked] or ks
        if not ks:
            continue
        metrics = ["fd_classifier"] + ["fid_inception"] * bool(part["fid_inception"].notna().any())
        columns = [(k, display, metric) for metric in metrics for k in ks for display in tables.DISPLAY_NAMES]
        alone = table[(table["arm"] == "dip-alone") & (table["passes"] == passes)]
        keys = sorted(set(zip(part["arm"], part["passes"], strict=True)), key=lambda key: (key[0] != "noise", key))
        lines = [(arm_label(*key), part[(part["arm"] == key[0]) & (part["passes"] == key[1])]) for key in keys]
        values = []
        for _, rows in lines:
            at = {(r.steps, r.display): r for r in rows.itertuples()}
            values.append([getattr(at[k, d], m) if (k, d) in at else float("nan") for k, d, m in columns])
        if len(alone):
            at = {r.display: r for r in alone.itertuples()}
            lines.append((f"{arm_label('dip-alone', passes)} (no chain)", alone))
            values.append([getattr(at[d], m) if d in at else float("nan") for _, d, m in columns])
        best = pd.DataFrame(values).min()
        rows = [
            [label] + [{"text": compact(v), "best": v == best[i]} for i, v in enumerate(line)]
            for (label, _), line in zip(lines, values, strict=True)
        ]
        floors = part.groupby("display")["fd_classifier_floor"].median()
        short = {"fd_classifier": "", "fid_inception": "FID, "}
        head = ["arm"] + [f"{short[m]}K = {k}, {d}" for k, d, m in columns]
        rows.append(
            ["floor (real against real)"]
            + [compact(floors.get(d, float("nan"))) if m == "fd_classifier" else "–" for _, d, m in columns]
        )
        found[name] = {"head": head, "rows": rows}
    return found


def loss_table(training: pd.DataFrame | None, config: dict) -> dict:
    if training is None or training.empty:
        return {"head": [], "rows": []}
    rows = []
    for model, part in training.groupby("model"):
        first, last = part.iloc[0], part.iloc[-1]
        pace = part["seconds"].median()
        rows.append([model, str(len(part)), f"{first['loss']:.4f}", f"{last['loss']:.4f}", f"{pace:.3g}"])
    if any(str(model.get("network")).startswith("hw4") for model in model_settings(config)):
        old = published.TRAINING_LOSS
        name = f"hw4: {published.TRAINING_SOURCE}"
        rows.append([name, str(max(old)), f"{old[1]:.3f}", f"{old[max(old)]:.3f}", "–"])
    return {
        "head": ["model", "epochs", "loss, epoch 1", "loss, last epoch", "seconds an epoch"],
        "rows": rows,
    }


def gan_loss_table(training: pd.DataFrame | None) -> dict:
    if training is None or training.empty:
        return {"head": [], "rows": []}
    rows = []
    for model, part in training.groupby("model"):
        last, pace = part.iloc[-1], part["seconds"].median()
        rows.append([model, str(len(part)), f"{last['loss_d']:.3f}", f"{last['loss_g']:.3f}", f"{pace:.3g}"])
    return {
        "head": ["model", "epochs", "discriminator, last epoch", "generator, last epoch", "seconds an epoch"],
        "rows": rows,
    }


def evolution_table(evolution: pd.DataFrame | None) -> dict:
    """A row a model and epoch: the distances with their spread, the floors, and the tone's spread."""
    if evolution is None:
        return {"head": [], "rows": []}
    metric, floor = tables.distance(evolution)
    name = "FD" if metric == "fd_classifier" else "FID"
    head = ["model", "epochs", *(f"{what}, {d}" for what in (name, "tone sd") for d in tables.DISPLAY_NAMES)]
    rows = []
    for (model, epochs), part in evolution.groupby(["variant", "epochs"]):
        by = part.set_index("display")
        values = []
        for display in tables.DISPLAY_NAMES:
            spread = by["fd_classifier_sd"].get(display, float("nan")) if metric == "fd_classifier" else float("nan")
            values.append(tables.with_error(by[metric].get(display, float("nan")), spread))
        values += [compact(by["tone_sd"].get(display, float("nan"))) for display in tables.DISPLAY_NAMES]
        rows.append([model, str(epochs), *values])
    floors = evolution.groupby("display")[floor].median()
    floors = [compact(floors.get(display, float("nan"))) for display in tables.DISPLAY_NAMES]
    return {"head": head, "rows": [*rows, ["floor (real against real)", "", *floors, "", ""]]}


def interpolation_table(interpolation: pd.DataFrame | None, display: str) -> dict:
    """A row a model, sampler and path: means over pairs with their standard errors, under one display."""
    if interpolation is None:
        return {"head": [], "rows": []}
    spaces = [space for space in ("pixels", "classifier") if space in set(interpolation["space"])]
    words = {"end_to_end": "end to end", "path_ratio": "path / end to end", "largest_share": "largest step's share"}
    columns = [(measure, space) for measure in words for space in spaces]
    words |= {"pixels": "pixels", "classifier": "features"}
    head = ["model", "sampler", "path", *(f"{words[measure]}, {words[space]}" for measure, space in columns)]
    rows = []
    for (model, sampler, noise, path), part in interpolation[interpolation["display"] == display].groupby(
        ["model", "sampler", "noise", "path"]
    ):
        row = [model, tables.way_label(sampler, noise), path]
        for measure, space in columns:
            values = part.loc[part["space"] == space, measure].dropna()
            row.append(tables.with_error(*verdicts_b.mean_and_error(values)))
        rows.append(row)
    return {"head": head, "rows": rows}


def inside_table(cells: pd.DataFrame, with_dip: list[str]) -> dict:
    """Models trained with DIP inside (`with_dip`), and plain models from noise at the same K."""
    head = ["model", "epochs", "arm", "K", "FD minmax", "FD clamp", "floor"]
    inside = set(cells.loc[cells["model"].isin(with_dip), "variant"])
    ks = set(cells.loc[cells["variant"].isin(inside), "steps"])
    own = cells["variant"].isin(inside)
    plain = ~own & (cells["arm"] == "noise") & cells["steps"].isin(ks)
    rows = []
    for part in (cells[own], cells[plain]):
        for key, same in part.groupby(["variant", "epochs", "arm", "passes", "steps"]):
            by = same.set_index("display")
            fd = [compact(by["fd_classifier"].get(d, float("nan"))) for d in tables.DISPLAY_NAMES]
            floor = compact(same["fd_classifier_floor"].median())
            rows.append([key[0], str(key[1]), arm_label(key[2], key[3]), str(key[4]), *fd, floor])
    return {"head": head, "rows": rows}


def brightness_table(cells: pd.DataFrame) -> dict:
    """Standard deviation over samples of the final image mean: model and arm by K."""
    table = largest_budget(cells)
    table = table[(table["model"] != "") & (table["display"] == "minmax") & table["image_mean_sd"].notna()]
    table = table[table["passes"].isin([0, usual_passes(table)]) & table["arm"].isin(["noise", "dip"])]
    ks = sorted(set(table["steps"]))
    rows = []
    for (name, key, passes), part in table.groupby(["variant", "arm", "passes"]):
        at = dict(zip(part["steps"], part["image_mean_sd"], strict=True))
        rows.append([name, arm_label(key, passes), *(compact(at.get(k, float("nan"))) for k in ks)])
    rows.sort(key=lambda row: (row[0], not row[1].startswith("DDPM")))
    return {"head": ["model", "arm", *(f"K = {k}" for k in ks)], "rows": rows}


def all_cells_table(cells: pd.DataFrame) -> dict:
    columns = [column for column in tables.CELL_COLUMNS if column != "dataset"]
    rows = []
    for record in cells[columns].to_dict("records"):
        row = []
        for column, value in record.items():
            if column in tables.CELL_METRICS and pd.isna(value):
                row.append("not computed")
            elif column in (*tables.CELL_METRICS, "image_mean_sd"):
                row.append("–" if pd.isna(value) else f"{value:.4g}")
            else:
                row.append("–" if pd.isna(value) or value == "" else str(value))
        rows.append(row)
    return {"head": columns, "rows": rows}


def fid_note(cells: pd.DataFrame, reasons: dict[str, list[str]]) -> str:
    """What the page says where FID is empty; "" where all of it was computed."""
    empty = int(cells["fid_inception"].isna().sum())
    if not empty:
        return ""
    why = "; ".join(reasons.get("fid_inception", [])) or "the reason is in each cell's metrics file"
    some = "" if empty == len(cells) else f" for {empty} of {len(cells)} rows"
    return f"FID (Inception features): not computed{some}: {why}."


# ---------------------------------------------------------------- settings and provenance


def setting(config: dict, *keys: str) -> object:
    """A nested value, or None."""
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def model_settings(config: dict) -> list[dict]:
    return [m for m in config.get("models") or [] if isinstance(m, dict) and "name" in m]


def flatten(value: object, name: str = "") -> list[tuple[str, str]]:
    """A nested setting as (dotted key, value) rows; a list of plain values is one row."""
    if isinstance(value, dict) and value:
        return [row for key in value for row in flatten(value[key], f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return [row for i, part in enumerate(value) for row in flatten(part, f"{name}[{i}]")]
    if isinstance(value, list):
        return [(name, ", ".join(map(str, value)) or "(none)")]
    return [(name, "(not set)" if value is None or value == {} else str(value))]


def versions(records: Iterable[dict]) -> list[tuple[str, str]]:
    """Each library with every version that took part."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, version in (record.get("versions") or {}).items():
            seen.setdefault(name, set()).add(str(version))
    return [(name, ", ".join(sorted(found))) for name, found in sorted(seen.items())]


def stage_table(provenance: dict[str, dict]) -> dict:
    """Files and seconds by the script that made them."""
    stages: dict[str, list[float]] = {}
    for record in provenance.values():
        stages.setdefault(script(record), []).append(float(record.get("seconds") or 0))
    rows = [[name, str(len(times)), f"{sum(times):.1f}"] for name, times in stages.items()]
    return {"head": ["script", "files", "seconds"], "rows": sorted(rows, key=lambda row: -float(row[2]))}


def provenance_table(provenance: dict[str, dict]) -> dict:
    rows = [
        [path, script(record), str(record.get("sha256", "–")), f"{float(record.get('seconds') or 0):.2f}"]
        for path, record in sorted(provenance.items())
    ]
    return {"head": ["file", "script", "sha256", "seconds"], "rows": rows}


def script(record: dict) -> str:
    return str((record.get("command") or ["–"])[0])
