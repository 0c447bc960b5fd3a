# What the report wants: its tables and figures, and what each is made from.
TABLES = f"{RESULTS}/tables"
FIGURES = f"{RESULTS}/figures"
EXPERIMENTS = study.experiments(config)
DISPLAYS = ("minmax", "clamp")
LOSSES, GAN_LOSSES = (
    [
        f"{RESULTS}/models/{name}/epoch-{max(model['epochs']):04d}/losses.csv"
        for name, model in MODELS.items()
        if (name in GANS) == gan
    ]
    for gan in (False, True)
)
EVOLUTION = study.expand(config, EXPERIMENTS.get("evolution") or {"models": []})


def made_files():
    """Every result so far that this study asks for: not a DIP or Inception that it makes no use of."""
    unused = set() if USES_DIP else set(DIP_FILES)
    unused |= set() if inception_wanted() else {INCEPTION}
    unused |= set() if data.has_labels(config["data"]["dataset"]) else {CLASSIFIER}
    return [path for path in STAMPS if path not in unused]


def samples_of(cells):
    return [f"{RESULTS}/samples/{cell.path}.npz" for cell in cells]


def tables():
    """Table -> the option and the files that tables.py takes."""
    kinds = {
        "cells": ("metrics", list(METRICS.values())),
        "training": ("losses", LOSSES),
        "gan_training": ("losses", GAN_LOSSES),
        "timing": ("timings", TIMINGS),
        "evolution": ("metrics", [METRICS[cell.path] for cell in EVOLUTION]),
        "interpolation": ("interpolations", list(SMOOTHNESS.values())),
    }
    return {name: kind for name, kind in kinds.items() if kind[1]}


def figures():
    """Figure -> (name in ddpm_dip.figures, input files, options, report category)."""
    wanted = {}
    if LOSSES:
        mnist = config["data"]["dataset"] == "mnist"
        mnist = mnist and any(m["network"].startswith("hw4") for m in MODELS.values())
        published = {"published": "true"} if mnist else {}
        loss_table = [f"{TABLES}/training.csv"]
        wanted["loss.png"] = ("loss", loss_table, published, "Training")
    if GAN_LOSSES:
        gan_loss_table = [f"{TABLES}/gan_training.csv"]
        wanted["gan-loss.png"] = ("gan-loss", gan_loss_table, {}, "Training")
    if USES_DIP:
        wanted["dip-fit.png"] = ("dip-fit", DIP_FILES[1:], {}, "DIP fit")
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
    best = {c.model: c for c in sorted(plain, key=lambda c: (c.steps, c.epochs))}
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
    if EVOLUTION:
        evolution_table = [f"{TABLES}/evolution.csv"]
        wanted["evolution.png"] = ("evolution", evolution_table, {}, "Evolution")
        for display in DISPLAYS:
            wanted[f"evolution-grid.{display}.png"] = (
                "evolution-grid",
                samples_of(EVOLUTION),
                {"display": display},
                "Evolution",
            )
    if INTERPOLATIONS:
        interpolation_table = [f"{TABLES}/interpolation.csv"]
        for display in DISPLAYS:
            wanted[f"smoothness.{display}.png"] = (
                "smoothness",
                interpolation_table,
                {"display": display},
                "Interpolation",
            )
        for model in EXPERIMENTS["interpolation"]["models"]:
            ways = [p for p, names in INTERPOLATIONS.items() if names["model"] == model]
            for display in DISPLAYS:
                wanted[f"interpolation.{model}.{display}.png"] = (
                    "interpolation-strip",
                    [f"{RESULTS}/interpolations/{way}.npz" for way in ways],
                    {"display": display},
                    "Interpolation",
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
