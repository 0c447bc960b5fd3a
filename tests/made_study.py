"""A made-up study on disk, in the workflow's formats: to look at figures and the report, and to test them.

`python tests/made_study.py FOLDER` writes study A's in FOLDER/results/made, with every figure and the report, and study
B's in FOLDER/results/made-b.
"""

import copy
import fcntl
import io
import json
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import jobfile

from ddpm_dip import study
from ddpm_dip.evaluation.metrics import METRICS
from ddpm_dip.jobs import files
from ddpm_dip.report import labels, plan, sprites, tables
from ddpm_dip.study import timing
from ddpm_dip.study.claims import asked as claims_asked
from ddpm_dip.study.claims import contrasts, pairs
from ddpm_dip.study.plan import JUDGED, SCRIPT, data_of, metrics_of, pictures_of, samples_of

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("hw4", "hw4-sees")
STEPS = (100, 200, 500, 900)
BASE = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def overlay(base: dict, over: dict) -> dict:
    """Mappings are merged, all else is replaced: as Snakemake lays a study's file over config.yaml."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if both else value
    return merged


CONFIG = overlay(
    BASE,
    {
        "study": "made",
        "training": {"weights": "last"},
        "metrics": {"fid_inception": False},
        "models": {
            "hw4": {"network": "hw4", "epochs": [5, 10, 20]},
            "hw4-sees": {"network": "hw4-sees", "epochs": [5, 10, 20]},
            "hw4-dip": {"network": "hw4", "dip_passes": 2, "epochs": [5]},
        },
        "timing": {"steps": [100, 500], "batches": [1, 32]},
        "seeds": {"replicates": [0]},
    },
) | {
    "claims": {
        "A1": {**BASE["claims"]["A1"], "than": {"steps": 500}},
        "A4": {**BASE["claims"]["A4"], "at": {"model": list(MODELS), "steps": [200, 500]}},
        "A5": {**BASE["claims"]["A5"], "at": {"model": "hw4-sees", "steps": [100, 200, 500]}},
        "A7": {"better": {"epochs": 20}, "than": {"epochs": 5}, "at": {"model": "hw4-sees", "steps": 1000}},
        "free": {
            "better": {"start": "mean-image"},
            "than": {"start": "dip"},
            "at": {"model": "hw4-sees", "steps": [200, 500]},
        },
        "B2": {**BASE["claims"]["B2-late"]},
    },
    "experiments": {
        "quality": {
            "title": "Quality at a given K",
            "grid": {"model": [*MODELS, "dip"], "steps": [200, 500], "start": ["noise", "dip", "mean-image"]},
            "show": {"strips": {"row": ["start", "passes"], "block": "steps", "panel": "model"}},
        },
        "steps": {
            "title": "Quality against K",
            "grid": {"model": [*MODELS, "dip"], "steps": list(STEPS), "start": ["noise", "dip", "mean-image"]},
            "show": {
                "curves": {"x": "steps", "line": ["start", "passes"], "panel": "model"},
                "drift": {"line": ["steps", "start"], "panel": "model"},
            },
        },
        "passes": {
            "title": "How many DIP passes",
            "grid": {
                "model": list(MODELS),
                "steps": [100, 500, 900],
                "start": ["noise", "dip"],
                "passes": [1, 2, 3, 5, 10, 50],
            },
            "show": {
                "heatmap": {"row": "passes", "x": "steps", "panel": "model"},
                "strips": {"row": "passes", "block": "steps", "panel": "model"},
            },
        },
        "epochs": {"grid": {"model": list(MODELS), "epochs": [5, 10, 20], "steps": 500, "start": "dip", "passes": 3}},
        "full": {"grid": {"model": list(MODELS), "epochs": [5, 20], "steps": 1000}},
        "dip_in_training": {
            "title": "DIP inside training",
            "grid": {"model": "hw4-dip", "steps": 1000, "start": ["dip", "dip-every-step"]},
        },
    },
}
PLAIN = CONFIG | {"claims": None}  # for experiments of a test's own: claims would add cells
PAIRS, POINTS = 8, 5
EVOLUTION = {"imvfx": (1, 20, 50), "dcgan": (1, 20, 50)}
CONFIG_B = overlay(
    BASE,
    {
        "study": "made-b",
        "seeds": {"replicates": [0]},
        "training": {"weights": "last"},
        "metrics": {"fid_inception": False},
    },
) | {
    "models": {
        "imvfx": {"network": "imvfx", "width": 8, "epochs": [1, 20, 50]},
        "dcgan": {"network": "dcgan", "epochs": [1, 20, 50]},
    },
    "experiments": {
        "evolution": {
            "title": "DDPM and DCGAN as training goes on",
            "grid": {"model": ["imvfx", "dcgan"], "epochs": "all", "steps": 1000},
            "show": {
                "curves": {"x": "epochs", "line": "model", "metric": ["fd_classifier", "tone_sd"]},
                "strips": {"row": ["model", "epochs"]},
            },
        },
        "interpolation": {
            "models": ["imvfx", "dcgan"],
            "paths": ["linear", "spherical"],
            "samplers": ["ancestral", "ddim"],
            "noise": ["shared", "independent"],
            "steps": 1000,
            "ddim_steps": 100,
            "pairs": PAIRS,
            "points": POINTS,
        },
    },
    "timing": None,
    "claims": {name: BASE["claims"][name] for name in ("B1", "B1-ddim", "B2-late")},
}


LARGE = CONFIG | {
    "study": "large",
    "claims": None,
    "timing": None,
    "experiments": {
        "all": {
            "title": "Five hundred cells",
            "grid": {
                "model": list(MODELS),
                "steps": [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000],
                "start": ["noise", "mean-image", "gaussian", "dip", "dip-renoised"],
                "passes": [1, 2, 3, 5, 10],
                "clip_x0": [False, True],
            },
            "show": {
                "pareto": {"line": ["start", "passes", "sampler", "clip_x0"], "panel": "model"},
                "curves": {"x": "steps", "line": ["start", "passes", "clip_x0"], "panel": "model"},
            },
        }
    },
}


@cache
def large() -> study.Study:
    """More than 500 cells."""
    return study.read(LARGE)


@cache
def study_a() -> study.Study:
    return study.read(CONFIG)


@cache
def study_b() -> study.Study:
    return study.read(CONFIG_B)


def digits(n: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """(n, 1, size, size) float32 in [-1, 1]: the digits 0, 1, 2, ... in a font, a little moved."""
    rng = np.random.default_rng(seed)
    font = ImageFont.load_default(size)
    images = []
    for index in range(n):
        page = Image.new("L", (size, size))
        at = (size / 2 + rng.uniform(-1, 1), size / 2 + rng.uniform(-1, 1))
        ImageDraw.Draw(page).text(at, str(index % 10), fill=255, font=font, anchor="mm")
        images.append(np.asarray(page, np.float32) / 127.5 - 1)
    return np.stack(images)[:, None]


def cell(model="hw4", epochs=20, start="noise", passes=None, steps=500, **other) -> dict:
    """A point on the axes; nfe is all of steps where nothing else is said."""
    point = {"replicate": 0, "weights": "last", "sampler": "ancestral", "clip_x0": False, "nfe": steps} | other
    point |= {"model": model, "epochs": epochs, "start": start, "passes": passes, "steps": steps}
    return {axis: point[axis] for axis in study.AXES}


def dip_alone(passes: int = 2, replicate: int = 0) -> dict:
    """The DIP net's drawing."""
    return dict.fromkeys(study.AXES) | {"model": "dip", "replicate": replicate, "passes": passes}


def gan(model: str = "dcgan", epochs: int = 50, replicate: int = 0) -> dict:
    """A DCGAN's samples."""
    return dict.fromkeys(study.AXES) | {"model": model, "replicate": replicate, "epochs": epochs}


def samples(point: dict, n: int = 16, size: int = 16, frames: int = 40) -> dict[str, np.ndarray]:
    """A samples file's arrays: digits under as much noise as the cell deserves, brightness adrift."""
    steps, passes = point["steps"] or 0, point["passes"] or 0
    rng = np.random.default_rng(steps + passes)
    clean, noise = digits(n, size), rng.standard_normal((n, 1, size, size)).astype(np.float32)
    drifts = point["model"] != "hw4-sees"
    start = point["start"] or ("dip" if passes else None)
    left = {"noise": max(0.0, 0.9 - steps / 600), "dip": 0.08 + 0.04 * passes}.get(start, 0.1)
    offset = rng.normal(0, (steps / 300) ** 2 if drifts else 0.07, (n, 1, 1, 1)).astype(np.float32)
    final = (clean * (1 - left) + noise * left) + offset
    arrays = {"samples": final, "cell": np.array(json.dumps(point))}
    if not steps:
        return arrays
    times = np.unique(np.linspace(steps - 1, -1, frames).round().astype(int))[::-1]
    mix = [(t + 1) / steps for t in times]
    path = np.linspace(0, 1, (point["nfe"] or steps) + 1)
    shown = final[:8]
    return arrays | {
        "mean_path": -0.4 * path + (path**6 * 3 if drifts else 0),
        "sd_path": 1 / size + path**2 * offset.std(),
        "frames": np.stack([rng.standard_normal(shown.shape) * m**0.5 + shown * (1 - m) for m in mix]).astype(
            np.float16
        ),
        "frame_timesteps": times.astype(np.int64),
    }


def archive(point: dict, **options: int) -> dict:
    """A samples file as `draw` gets it: its arrays, and its cell as a mapping."""
    return samples(point, **options) | {"cell": point}


def distance(point: dict, display: str) -> float:
    """A distance that behaves like one: better with K, worse with passes, huge for hw4 under clamp."""
    steps, start = point["steps"] or 0, point["start"] or "dip"
    kind = {"noise": 300 * np.exp(-steps / 150), "mean-image": 20}.get(start, 30 + 9 * (point["passes"] or 0))
    value = 9 + kind + 200 / (point["epochs"] or 1) + (300 if point["model"] == "hw4-dip" else 0)
    adrift = display == "clamp" and point["model"] in ("hw4", "hw4-dip")
    return float(value * (1 + steps**2 / 1000 if adrift else 1))


def metrics(point: dict, n: int = 256) -> dict:
    """A record of the stage evaluate."""
    if point["model"] in EVOLUTION:
        first, one_step = point["epochs"] < 10, point["start"] is None
        distances = dict.fromkeys(
            labels.DISPLAY_NAMES, (60.0 if first else 30.0) if one_step else (300.0 if first else 12.0)
        )
        tone = 0.3 if one_step else 0.05
    else:
        distances, tone = {display: distance(point, display) for display in labels.DISPLAY_NAMES}, 0.04
    shown = {
        display: dict.fromkeys(METRICS)
        | {
            "fd_classifier": distances[display],
            "fd_classifier_se": distances[display] / 20,
            "energy_classifier": distances[display] ** 0.5,
            "fd_classifier_2": 1.1 * distances[display],
            "tone_sd": tone,
            "image_mean_sd": 0.07,
        }
        for display in labels.DISPLAY_NAMES
    }
    others = {"precision": 0.8, "recall": 0.7, "coverage": 0.75, "class_entropy": 2.2, "noise_mad": 0.01}
    others |= {"nn_ratio": 1.1, "diverged": 0.0}
    shown = {display: values | others for display, values in shown.items()}
    reason = "the Inception weights are not there"
    reasons = {"fid_inception": reason}
    record = {"cell": point, "n": n, "n_reference": 449, "displays": shown, "not_computed": reasons}
    return record | {"pseudo": pseudo(shown), "noise": noise_along(point)}


def pseudo(shown: dict[str, dict]) -> dict[str, dict]:
    """Pseudo-values by display and metric whose means are the metrics' values, or None."""
    spread = np.linspace(-0.1, 0.1, 8)
    return {
        display: {
            name: None if values[name] is None else (values[name] * (1 + spread)).tolist()
            for name, metric in METRICS.items()
            if metric.in_claims
        }
        for display, values in shown.items()
    }


def noise_along(point: dict) -> dict | None:
    """The noise along a chain, falling evenly from 1 to 0.01."""
    if point["steps"] is None:
        return None
    times = np.unique(np.linspace(point["steps"] - 1, -1, 11).round().astype(int))[::-1]
    return {"timesteps": times.tolist(), "noise_mad": np.linspace(1, 0.01, len(times)).tolist()}


def floors(n: int = 256, floor: float = 6.1) -> pd.DataFrame:
    """floors.csv: the same for every feature net and display."""
    nets = sorted(set(tables.DISTANCES.values()) - {"inception"})
    rows = [(net, display, n, 449, floor, floor / 10) for net in nets for display in labels.DISPLAY_NAMES]
    return pd.DataFrame(rows, columns=tables.FLOOR_COLUMNS)


def starts(points: list[dict]) -> dict[str, pd.DataFrame]:
    """starts.csv and spectra.csv of the cells with a chain: what each start gives, 8 bands, by start and K."""
    known: dict[tuple, dict] = {}
    for point in points:
        if point["start"] is not None:
            known.setdefault(tuple(point[key] for key in ("start", "passes", "replicate", "steps")), point)
    rows, spectra = [], []
    for start, passes, replicate, steps in known:
        shares = np.arange(1, 9) ** -2.0 * (1 - steps / 1000)  # of the images; the rest is noise
        expected = shares + steps / 1000
        power = np.ones(8) if start == "noise" else (1 + 0.05 * replicate) * expected + 0.1 * (passes or 0)
        key = {"start": start, "passes": passes, "replicate": replicate, "steps": steps}
        key["schedule"] = "linear, 1000 timesteps"
        off = {"mean_error": 0.6 * (1 - steps / 1000) if start == "noise" else 0.01 * (1 + replicate)}
        off |= {
            "variance_ratio": power.mean() / expected.mean(),
            "spectrum_ratio": 1.0,
            "gaussian_kl": 0.0,
            "gaussian_kl_floor": 0.1,
            "axes": 16,
        }
        rows.append(key | {"n": 256} | off)
        spectra += [key | {"band": b, "power": power[b], "expected": expected[b]} for b in range(8)]
    return {"starts": pd.DataFrame(rows), "spectra": pd.DataFrame(spectra)}


CLAIM = {
    "statement": "At the same K, DIP + DDPM is better than DDPM.",
    "contrast": "better",
    "model": "hw4-sees",
    "metric": "fd_classifier",
    "display": "clamp",
    "scope": "this way of training",
    "replicates": 3,
    "n": 256,
    "estimate": -10.0,
    "ci_low": -15.0,
    "ci_high": -5.0,
    "margin": 0.0,
    "reference": 20.0,
    "p": 0.001,
    "p_holm": 0.004,
    "mde": 3.0,
    "agrees_energy": True,
    "agrees_classifier_2": True,
    "verdict": "supported",
    "note": "",
    "exploratory": False,
}


def claims(**changes: dict) -> pd.DataFrame:
    """claims.csv: a row a claim, by name, each with what is said of it beside CLAIM, read back from its text."""
    rows = [{"claim": name} | CLAIM | change for name, change in changes.items()]
    return pd.read_csv(io.StringIO(pd.DataFrame(rows).to_csv(index=False)), keep_default_na=True)


def cells_table(points: list[dict]) -> pd.DataFrame:
    """The table of these cells, with floors, as figures and page take it."""
    records = {str(index): metrics(point) for index, point in enumerate(points)}
    return tables.with_floors(tables.cells(records), floors())


def points_of(asked: study.Study) -> list[dict]:
    return [each._asdict() for each in asked.cells]


def timing_rows(model: str = "hw4", rounds: int = 15, jitter: float = 0.02) -> str:
    """A net's times: steps of 2.1 ms an image at batch 1 and 0.55 ms at batch 32, 1.5 ms a pass through the DIP net."""
    lines = [",".join(tables.TIMING_COLUMNS)]
    starts = {("noise", ""): 1e-5, ("mean-image", ""): 2e-5}
    starts |= {("dip", p): 1.5e-3 * p for p in (1, 2, 3, 5, 10, 50)} | {("dip-every-step", 2): 3e-3}
    for turn in range(rounds):
        slow = 1 + jitter * (7 * turn % 15 / 7 - 1)  # a round's moment, the same for all; 1 is the middle one
        for batch, step in ((1, 2.1e-3), (32, 0.55e-3)):
            end = f"{batch},{turn},cpu,openvino"
            for (start, passes), seconds in starts.items():
                lines.append(f"{model},start,{start},{passes},,,,{end},{slow * seconds}")
            lines.append(f"{model},step,dip-every-step,2,ancestral,False,,{end},{slow * (step + 3e-3)}")
            lines.append(f"{model},step,noise,,ancestral,False,,{end},{slow * step}")
            for steps in (100, 500):
                lines.append(f"{model},chain,noise,,ancestral,False,{steps},{end},{slow * (1e-5 + steps * step)}")
    return "\n".join(lines) + "\n"


def loss_rows(model: str, epochs: int, replicate: int = 0) -> str:
    """A U-Net's losses.csv."""
    above = {"hw4": 0.01, "hw4-sees": 0}.get(model, 0.1) + 0.01 * replicate
    lines = [f"{model},{replicate},{e},{0.03 + 0.12 / e**1.5 + above},{11.5}" for e in range(1, epochs + 1)]
    return "\n".join([",".join(tables.TRAINING_COLUMNS), *lines]) + "\n"


def gan_loss_rows(model: str, epochs: int, replicate: int = 0) -> str:
    """A DCGAN's losses.csv."""
    lines = [f"{model},{replicate},{e},{1 - e / (2 * epochs)},{1 + e / epochs},3.5" for e in range(1, epochs + 1)]
    return "\n".join([",".join(tables.GAN_TRAINING_COLUMNS), *lines]) + "\n"


def write_dip_fit(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["iteration,loss,psnr_noisy,psnr_clean,psnr_smoothed,reverted"]
    for i in range(200):
        rise = 12 + 10.5 * (1 - np.exp(-i / 40)) + rng.normal(0, 0.3)
        dip = 6 if i in (77, 140) else 0
        lines.append(f"{i},{10 ** (-rise / 10)},{rise - dip},{rise + 1.5 - dip},{rise + 1.9},{dip > 0}")
    files.write_text(folder / "fit.csv", "\n".join(lines) + "\n")
    clean = (digits(6, 32)[5:6] + 1) / 2
    noisy = np.clip(clean + rng.normal(0, 25 / 255, clean.shape), 0, 1).astype(np.float32)
    files.write_npz(folder / "fit.npz", clean=clean, noisy=noisy, output=(0.9 * clean + 0.1 * noisy))


def between(
    sampler: str | None, noise: str | None = None, path: str = "linear", jump: float = 0.0, model: str = ""
) -> dict:
    """A record of evaluate_interpolation: even steps, but for a share `jump` of the path in one of them."""
    rng = np.random.default_rng(0)
    steps = np.full(POINTS - 1, (1 - jump) / (POINTS - 1)) + rng.uniform(0, 0.002, (PAIRS, POINTS - 1))
    steps[:, 1] += jump
    length = steps.sum(1)
    detour = {None: 1.5, "ddim": 1.7}.get(sampler, 3.0) + rng.uniform(0, 0.1, PAIRS)
    measures = [
        {
            "display": display,
            "space": space,
            "pair": pair,
            "steps_between": steps[pair].tolist(),
            "path_length": length[pair],
            "end_to_end": length[pair] / detour[pair],
            "path_ratio": detour[pair],
            "largest_share": steps[pair].max() / length[pair],
        }
        for display in labels.DISPLAY_NAMES
        for space in ("pixels", "classifier")
        for pair in range(PAIRS)
    ]
    chain = sampler is not None
    names = {
        "family": "unet" if chain else "dcgan",
        "model": model or ("imvfx" if chain else "dcgan"),
        "replicate": 0,
        "epochs": 50,
        "weights": "last" if chain else None,
        "sampler": sampler,
        "path": path,
        "noise": noise,
        "steps": 1000 if chain else None,
        "clip_x0": False if chain else None,
        "pairs": PAIRS,
        "points": POINTS,
    }
    return {"names": names, "measures": measures, "not_computed": {}}


WAYS = [(None, None, 0.0), ("ancestral", "shared", 0.4), ("ancestral", "independent", 0.0), ("ddim", None, 0)]


def ways() -> list[dict]:
    return [between(*kind[:2], path, kind[2]) for kind in WAYS for path in ("linear", "spherical")]


def strips_of(record: dict, size: int = 16) -> dict:
    """An interpolation's archive, as `draw` gets it."""
    return {"images": digits(PAIRS * POINTS, size).reshape(PAIRS, POINTS, 1, size, size), "names": record["names"]}


# ---------------------------------------------------------------- on disk


def write_results(root: Path, asked: study.Study, size: int = 16) -> None:
    """What lies before the tables: metrics, samples, fits, losses, times and interpolations."""
    for each in asked.cells:
        point = each._asdict()
        files.write_json(root / metrics_of(each), metrics(point))
        drawn = samples(point, size=size)
        files.write_npz(root / samples_of(each), **drawn)
        files.write_json(root / pictures_of(each), sprites.of_cell(drawn))
    real = np.round((digits(32, size) + 1) * 127.5).astype(np.uint8)
    files.write_npz(root / data_of(asked), train=real, reference=real)
    files.write_text(root / "tables/floors.csv", floors().to_csv(index=False))
    for name, table in starts(points_of(asked)).items():
        files.write_text(root / f"tables/{name}.csv", table.to_csv(index=False))
    write_dip_fit(root / "dip/r0")
    known = {(None, None): 0.0} | {kind[:2]: kind[2] for kind in WAYS}
    for path, names in asked.interpolations.items():
        record = between(names["sampler"], names["noise"], names["path"], known[names["sampler"], names["noise"]])
        record["names"] = names
        files.write_json(root / f"interpolations/{path}.json", record)
        strips = strips_of(record, size)
        files.write_npz(root / f"interpolations/{path}.npz", images=strips["images"], names=np.array(json.dumps(names)))


def write_tables(root: Path, asked: study.Study) -> list[str]:
    """The tables, by their stage. Returns their names."""
    measured = [metrics_of(each) for each in asked.cells]
    with_chain = [metrics_of(each) for each in asked.cells if each.steps is not None]
    parts = {}
    for model in timing.timed(asked):
        files.write_text(root / f"timing/{model}.csv", timing_rows(model))
        parts.setdefault("timing", []).append(f"timing/{model}.csv")
    parts |= {"cells": measured, "pseudo": measured, "noise": with_chain}
    parts["interpolation"] = [f"interpolations/{path}.json" for path in asked.interpolations]
    for model, family in asked.families.items():
        table = "gan_training" if family == "dcgan" else "training"
        for replicate in asked.config["seeds"]["replicates"]:
            epochs = max(asked.config["models"][model]["epochs"])
            losses = f"models/{model}/r{replicate}/epoch-{epochs:04d}/losses.csv"
            rows = (gan_loss_rows if family == "dcgan" else loss_rows)(model, epochs, replicate)
            files.write_text(root / losses, rows)
            parts.setdefault(table, []).append(losses)
    parts = {name: paths for name, paths in parts.items() if paths}
    for name, paths in parts.items():
        settings, inputs, outputs = {"table": name}, {"parts": paths}, {"table": f"tables/{name}.csv"}
        if name == "timing":
            settings["models"] = timing.same_nets(asked)
        if name == "cells" and "timing" in parts:
            inputs["timing"] = "tables/timing.csv"
        jobfile.run("tables", jobfile.write(root, "tables", settings, inputs, outputs, name))
    settings = {"rows": claims_asked(asked.claims), "pairs": pairs(asked.cells, asked.timesteps, "fd_classifier")}
    read = {
        name: f"tables/{name}.csv" for name in ("cells", "pseudo", "noise", "timing", "interpolation") if name in parts
    }
    outputs = {name: f"tables/{name}.csv" for name in JUDGED}
    jobfile.run("claims", jobfile.write(root, "claims", settings, {"tables": read}, outputs, "claims"))
    return [*parts, "floors", *JUDGED]


@cache
def vega() -> str:
    """The script that draws charts, made once: it takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        jobfile.run("scripts", jobfile.write(folder, "scripts", {}, {}, {"script": SCRIPT}, "vega"))
        return (Path(folder) / SCRIPT).read_text(encoding="utf-8")


def write_figures(root: Path, asked: study.Study, dpi: int = 150) -> list[plan.Wanted]:
    """Every figure that the study wants, and its charts, by their stages."""
    wanted = plan.wanted(asked)
    for each in wanted:
        settings = {"figure": each.kind, "options": each.options, "dpi": dpi}
        outputs = {"figure": f"figures/{each.file}"}
        jobfile.run("figure", jobfile.write(root, "figure", settings, each.inputs, outputs, each.file))
        if each.interactive:
            outputs = {"charts": each.charts, "drawing": f"figures/{each.name}.svg"}
            jobfile.run("chart", jobfile.write(root, "chart", settings, each.inputs, outputs, each.name))
    return wanted


def report_job(root: Path, asked: study.Study, names: list[str], wanted: list[plan.Wanted]) -> Path:
    """The job file of the report."""
    files.write_text(root / SCRIPT, vega())
    settings = {
        "contrasts": contrasts(asked.claims),
        "display": "clamp",
        "timesteps": asked.timesteps,
        "config": asked.config,
        "cells": [each.path for each in asked.cells],
        "figures": [
            {"file": f"figures/{each.file}", "kind": each.kind, "section": each.section, "title": each.title}
            | {"caption": each.caption, "alt": each.alt, "charts": each.charts if each.interactive else None}
            | {"shows": each.shows, "drawn": each.drawn}
            for each in wanted
        ],
        "experiments": {
            part.name: {"title": part.title, "cells": [each.path for each in part.cells], "show": part.show}
            for part in asked.experiments.values()
        },
    }
    inputs = {
        "tables": {name: f"tables/{name}.csv" for name in names},
        "figures": [f"figures/{each.file}" for each in wanted],
        "charts": [each.charts for each in wanted if each.interactive],
        "pictures": {each.path: pictures_of(each) for each in asked.cells},
        "script": SCRIPT,
    }
    outputs = {"page": "report/index.html", "summary": "report/summary.txt"}
    results = [f"tables/{name}.csv" for name in names]
    return jobfile.write(root, "report", settings, inputs, outputs, "report", results=results)


def write_study(root: Path, asked: study.Study | None = None, size: int = 16, dpi: int = 150) -> list[plan.Wanted]:
    """A whole made-up study, up to its report. Returns its figures."""
    asked = asked or study_a()
    write_results(root, asked, size)
    names, wanted = write_tables(root, asked), write_figures(root, asked, dpi)
    jobfile.run("report", report_job(root, asked, names, wanted))
    return wanted


def copied(tmp_path_factory, kind: str) -> Path:
    """The results of a whole made-up study (`study_a`, `study_b`), drawn once for all of pytest's processes: a copy."""
    once = tmp_path_factory.getbasetemp()
    once = once.parent if "PYTEST_XDIST_WORKER" in os.environ else once
    with open(once / f"{kind}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (once / kind).exists():
            whole = tmp_path_factory.mktemp("study") / "results/made"
            write_study(whole, globals()[kind]())
            whole.rename(once / kind)
    return Path(shutil.copytree(once / kind, tmp_path_factory.mktemp("study") / "results/made"))


if __name__ == "__main__":
    write_study(Path(sys.argv[1]) / "results/made")
    write_study(Path(sys.argv[1]) / "results/made-b", study_b())
