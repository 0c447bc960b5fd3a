# What the report wants: its tables and figures, and what each is made from.
TABLES = f"{RESULTS}/tables"
FIGURES = f"{RESULTS}/figures"
EXPERIMENTS = study.experiments(config)
DISPLAYS = ("minmax", "clamp")
LOSSES = [
    f"{RESULTS}/models/{name}/epoch-{max(model['epochs']):04d}/losses.csv"
    for name, model in MODELS.items()
]


def made_files():
    """Every result so far that this study asks for: all but the Inception status where no FID is wanted."""
    return [path for path in STAMPS if path != INCEPTION or inception_wanted()]


def samples_of(cells):
    return [f"{RESULTS}/samples/{cell.path}.npz" for cell in cells]


def tables():
    """Table -> the option and the files that tables.py takes."""
    kinds = {
        "cells": ("metrics", list(METRICS.values())),
        "training": ("losses", LOSSES),
    }
    if TIMINGS:
        kinds["timing"] = ("timings", TIMINGS)
    return kinds


def figures():
    """Figure -> (name in ddpm_dip.figures, input files, options, report category)."""
    wanted = {
        "loss.png": ("loss", [f"{TABLES}/training.csv"], {}, "Training"),
        "dip-fit.png": (
            "dip-fit",
            [f"{RESULTS}/dip/fit.csv", f"{RESULTS}/dip/fit.npz"],
            {},
            "DIP fit",
        ),
    }
    if config["data"]["dataset"] == "mnist":
        wanted["loss.png"][2]["published"] = "true"
    if TIMINGS:
        wanted["time-against-steps.png"] = (
            "time-against-steps",
            [f"{TABLES}/timing.csv"],
            {},
            "Time",
        )
    if data.has_labels(config["data"]["dataset"]):
        cells_table = [f"{TABLES}/cells.csv"]
        curves = EXPERIMENTS.get("steps") or EXPERIMENTS.get("quality")
        if curves:
            shown = ",".join(map(str, curves["passes"]))
            wanted["distance-against-steps.png"] = (
                "distance-against-steps",
                cells_table,
                {"passes": shown},
                "Quality",
            )
        if "passes" in EXPERIMENTS:
            wanted["passes-heatmap.png"] = ("passes-heatmap", cells_table, {}, "Passes")
        if "epochs" in EXPERIMENTS:
            part = EXPERIMENTS["epochs"]
            at = {"passes": max(part["passes"]), "steps": max(part["steps"])}
            wanted["epochs.png"] = ("epochs", cells_table, at, "Epochs")
    if curves := EXPERIMENTS.get("steps") or EXPERIMENTS.get("quality"):
        chains = [cell for cell in study.expand(config, curves) if not cell.alone]
        wanted["brightness-drift.png"] = (
            "brightness-drift",
            [*samples_of(chains), DATA],
            {},
            "Brightness",
        )
    plain = [cell for cell in CELLS.values() if cell.start == "noise"]
    longest = [cell for cell in plain if cell.steps == max(c.steps for c in plain)]
    best = {c.model: c for c in sorted(longest, key=lambda c: c.epochs)}
    if best:
        for display in DISPLAYS:
            wanted[f"gallery-{display}.png"] = (
                "gallery",
                samples_of(best.values()),
                {"display": display},
                "Quality",
            )
    for experiment, row, category in (
        ("quality", "arm", "Quality"),
        ("passes", "passes", "Passes"),
        ("epochs", "epochs", "Epochs"),
        ("dip_in_training", "arm", "DIP in training"),
    ):
        if experiment not in EXPERIMENTS:
            continue
        cells = study.expand(config, EXPERIMENTS[experiment])
        for model in EXPERIMENTS[experiment]["models"]:
            mine = samples_of(cell for cell in cells if cell.model in (model, "none"))
            for display in DISPLAYS:
                wanted[f"strip.{experiment}.{model}.{display}.png"] = (
                    "strip",
                    mine,
                    {"row": row, "block": "steps", "display": display},
                    category,
                )
    for cell in study.expand(config, EXPERIMENTS.get("quality") or {"models": []}):
        if not cell.alone:
            arm = f"{cell.start}-p{cell.passes:02d}" if cell.passes else cell.start
            wanted[f"denoising.{cell.model}.{arm}.K{cell.steps:04d}.minmax.gif"] = (
                "denoising",
                samples_of([cell]),
                {"display": "minmax"},
                "Quality",
            )
    return wanted
