"""A made-up study on disk, in the workflow's formats: to look at figures and the report, and to test them.

`python tests/made_study.py FOLDER` writes it, with every figure, and study B's in FOLDER/study-b.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ddpm_dip import files, provenance, tables

MODELS = ("hw4", "hw4-sees")
STEPS = (100, 200, 500, 900)
CONFIG = {
    "study": "made",
    "data": {"dataset": "digits", "split": "both", "image_size": 16},
    "models": [
        {"name": "hw4", "network": "hw4", "epochs": 20},
        {"name": "hw4-sees", "network": "hw4-sees", "epochs": 20},
        {"name": "hw4-dip", "network": "hw4", "dip_passes": 2, "epochs": 5},
    ],
    "experiments": {
        "quality": {"models": list(MODELS), "steps": [200, 500], "passes": [2]},
        "passes": {"models": list(MODELS), "steps": [100, 500, 900], "passes": [0, 1, 2, 3, 5, 10, 50]},
        "epochs": {"models": list(MODELS), "epochs": [5, 10, 20], "passes": 3, "steps": 500},
        "dip_in_training": {"models": ["hw4-dip"], "steps": 1000, "passes": 2},
    },
    "timing": {"steps": list(range(100, 1001, 100)), "batch": [1, 32], "repeats": 5},
}


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


def cell(model="hw4", epochs=20, start="noise", passes=0, sampler="ancestral", steps=500, dataset="digits") -> dict:
    epochs = epochs if model else None
    shared = {"weights": "last", "clip_x0": False, "seed": 0, "n": 256}
    return {
        "dataset": dataset,
        "model": model,
        "epochs": epochs,
        "start": start,
        "passes": passes,
        "sampler": sampler,
        "steps": steps,
        **shared,
    }


def samples(record: dict, n: int = 8, size: int = 16, frames: int = 40) -> dict[str, np.ndarray]:
    """A samples file's arrays: digits under as much noise as the cell deserves, brightness adrift."""
    rng = np.random.default_rng(record["steps"] + record["passes"])
    clean, noise = digits(n, size), rng.standard_normal((n, 1, size, size)).astype(np.float32)
    steps, drifts = record["steps"], record["model"] != "hw4-sees"
    left = {"noise": max(0.0, 0.9 - steps / 600), "dip": 0.08 + 0.04 * record["passes"]}.get(record["start"], 0.1)
    offset = rng.normal(0, (steps / 300) ** 2 if drifts else 0.07, (n, 1, 1, 1)).astype(np.float32)
    final = (clean * (1 - left) + noise * left) + offset
    times = np.unique(np.linspace(steps - 1, -1, frames).round().astype(int))[::-1]
    mix = [(t + 1) / max(steps, 1) for t in times]
    path = np.linspace(0, 1, steps + 1)
    return {
        "samples": final,
        "mean_path": -0.4 * path + (path**6 * 3 if drifts else 0),
        "sd_path": 1 / size + path**2 * offset.std(),
        "frames": np.stack([rng.standard_normal(final.shape) * m**0.5 + final * (1 - m) for m in mix]).astype(
            np.float16
        ),
        "frame_timesteps": times.astype(np.int64),
        "cell": np.array(json.dumps(record)),
    }


def all_cells() -> list[dict]:
    found = [cell("", None, "dip", 2, "none", 0)]
    for model in MODELS:
        for steps in STEPS:
            found += [cell(model, steps=steps), cell(model, start="mean-image", steps=steps)]
            found += [
                cell(model, start="dip", passes=p, steps=steps)
                for p in ((2,) if steps == 200 else (1, 2, 3, 5, 10, 50))
            ]
        found += [cell(model, epochs, "dip", 3) for epochs in (5, 10)]
    found += [cell("hw4-dip", 5, start, 2, steps=1000) for start in ("dip", "dip-every-step")]
    found += [cell(model, 5, steps=1000) for model in MODELS] + [cell(model, 20, steps=1000) for model in MODELS]
    return found


def distance(record: dict, display: str) -> float:
    """A distance that behaves like one: better with K, worse with passes, huge for hw4 under clamp."""
    start = {"noise": 300 * np.exp(-record["steps"] / 150), "mean-image": 20}.get(
        record["start"], 30 + 9 * record["passes"]
    )
    value = 9 + start + 200 / (record["epochs"] or 1) + (300 if record["model"] == "hw4-dip" else 0)
    adrift = display == "clamp" and record["model"].startswith("hw4") and record["model"] != "hw4-sees"
    return float(value * (1 + record["steps"] ** 2 / 1000 if adrift else 1))


def metrics(record: dict) -> dict:
    shown = {
        d: {
            "fd_classifier": distance(record, d),
            "fd_classifier_sd": distance(record, d) / 20,
            "fd_classifier_floor": 6.1,
            "fid_inception": None,
            "fid_inception_floor": None,
            "tone_sd": 0.04,
        }
        for d in tables.DISPLAY_NAMES
    }
    reason = "the Inception weights are not there"
    return {
        **record,
        "n_reference": 449,
        "image_mean_sd": 0.07,
        "displays": shown,
        "not_computed": {"fid_inception": reason},
    }


def timing_rows(jitter: float = 0.04) -> str:
    rng = np.random.default_rng(0)
    lines = [",".join(tables.TIMING_COLUMNS)]
    for batch, each in ((1, 2.1e-3), (32, 0.55e-3)):
        for method, passes in (("ddpm", 0), ("dip+ddpm", 2)):
            for steps in range(100, 1001, 100):
                middle = steps * each * (1 + rng.normal(0, jitter / 3)) + 0.002 * passes
                low, high = middle * (1 - jitter), middle * (1 + jitter)
                lines.append(f"{method},{passes},{steps},{batch},cpu (2 threads),openvino,{middle},{low},{high},5")
        lines.append(f"dip,2,0,{batch},cpu (2 threads),openvino,0.004,0.0039,0.0042,5")
    return "\n".join(lines) + "\n"


def loss_rows(model: str, epochs: int) -> str:
    lines = [
        f"{model},{e},{0.03 + 0.12 / e**1.5 + {'hw4': 0.01, 'hw4-sees': 0}.get(model, 0.1)},{11.5}"
        for e in range(1, epochs + 1)
    ]
    return "\n".join([",".join(tables.TRAINING_COLUMNS), *lines]) + "\n"


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


def write_tables(folder: Path) -> None:
    records = {str(index): metrics(record) for index, record in enumerate(all_cells())}
    files.write_text(folder / "cells.csv", tables.cells(records).to_csv(index=False))
    reasons = tables.not_computed(records)
    provenance.Job(None, __file__).finish(folder / "cells.csv", spec={"table": "cells"}, not_computed=reasons)
    files.write_text(folder / "timing.csv", timing_rows())
    parts = [
        loss_rows(model, epochs).split("\n", 1)[1] for model, epochs in (("hw4", 20), ("hw4-sees", 20), ("hw4-dip", 5))
    ]
    files.write_text(folder / "training.csv", ",".join(tables.TRAINING_COLUMNS) + "\n" + "".join(parts))


# ---------------------------------------------------------------- study B

PAIRS, POINTS = 8, 5
EVOLUTION = {"imvfx": (1, 20, 50), "dcgan": (1, 20, 50)}
CONFIG_B = CONFIG | {
    "models": [
        {"name": "imvfx", "network": "imvfx", "width": 8, "epochs": [1, 20, 50]},
        {"name": "dcgan", "network": "dcgan", "epochs": [1, 20, 50]},
    ],
    "experiments": {"evolution": {"models": ["imvfx", "dcgan"], "steps": 1000}, "interpolation": {"points": POINTS}},
    "timing": None,
}


def evolution_cells() -> list[dict]:
    kinds = {"imvfx": ("ancestral", 1000), "dcgan": ("gan", 0)}
    return [
        cell(model, epochs, sampler=kinds[model][0], steps=kinds[model][1])
        for model, budgets in EVOLUTION.items()
        for epochs in budgets
    ]


def evolution_metrics(record: dict) -> dict:
    """DCGAN is nearer in the first epochs, the U-Net later, when its images are more alike in tone."""
    made, first = metrics(record), record["epochs"] < 10
    gan = record["sampler"] == "gan"
    for values in made["displays"].values():
        values["fd_classifier"] = (60.0 if first else 30.0) if gan else (300.0 if first else 12.0)
        values["tone_sd"] = 0.3 if gan else 0.05
    return made


def between(sampler: str, noise: str = "none", path: str = "linear", jump: float = 0.0, model: str = "") -> dict:
    """A record of evaluate_interpolation.py: even steps, but for a share `jump` of the path in one of them."""
    rng = np.random.default_rng(0)
    steps = np.full(POINTS - 1, (1 - jump) / (POINTS - 1)) + rng.uniform(0, 0.002, (PAIRS, POINTS - 1))
    steps[:, 1] += jump
    length = steps.sum(1)
    detour = {"gan": 1.5, "ddim": 1.7}.get(sampler, 3.0) + rng.uniform(0, 0.1, PAIRS)
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
        for display in tables.DISPLAY_NAMES
        for space in ("pixels", "classifier")
        for pair in range(PAIRS)
    ]
    names = {"dataset": "digits", "model": model or ("dcgan" if sampler == "gan" else "imvfx"), "epochs": 50}
    names |= {
        "weights": "" if sampler == "gan" else "last",
        "clip_x0": False,
        "sampler": sampler,
        "noise": noise,
        "path": path,
    }
    return names | {"steps": 0 if sampler == "gan" else 1000, "seed": 0, "measures": measures, "not_computed": {}}


def ways() -> list[dict]:
    kinds = [("gan", "none", 0.0), ("ancestral", "shared", 0.4), ("ancestral", "independent", 0.0), ("ddim", "none", 0)]
    return [between(*kind[:2], path, kind[2]) for kind in kinds for path in ("linear", "spherical")]


def write_study_b(root: Path, size: int = 16) -> None:
    """Tables, figures and settings of study B, under the names the report looks for."""
    from ddpm_dip import figures

    records = {str(index): evolution_metrics(record) for index, record in enumerate(evolution_cells())}
    for name in ("cells", "evolution"):
        files.write_text(root / f"tables/{name}.csv", tables.cells(records).to_csv(index=False))
    found = tables.interpolation({str(index): record for index, record in enumerate(ways())})
    files.write_text(root / "tables/interpolation.csv", found.to_csv(index=False))
    files.write_text(root / "tables/training.csv", loss_rows("imvfx", 50))
    lines = [f"dcgan,{e},{1 - e / 100},{1 + e / 50},3.5" for e in range(1, 51)]
    files.write_text(
        root / "tables/gan_training.csv", "\n".join([",".join(tables.GAN_TRAINING_COLUMNS), *lines]) + "\n"
    )
    files.write_json(root / "config.json", CONFIG_B)

    cells = []
    for record in evolution_cells():
        cells.append(root / f"samples/{cell_name(record)}.npz")
        files.write_npz(cells[-1], **samples(record, 16, size))
    strips: dict[str, list[Path]] = {}
    for record in ways():
        names = {key: value for key, value in record.items() if key not in ("measures", "not_computed")}
        path = root / "interpolations" / f"{record['sampler']}-{record['path']}-{record['noise']}.npz"
        images = digits(PAIRS * POINTS, size).reshape(PAIRS, POINTS, 1, size, size)
        files.write_npz(path, images=images, cell=np.array(json.dumps(names)))
        strips.setdefault(record["model"], []).append(path)

    def make(name, inputs, output, **options):
        figures.save(figures.draw(name, inputs, options), root / "figures" / output)

    make("loss", [root / "tables/training.csv"], "loss.png")
    make("gan-loss", [root / "tables/gan_training.csv"], "gan-loss.png")
    make("evolution", [root / "tables/evolution.csv"], "evolution.png")
    for display in tables.DISPLAY_NAMES:
        make("evolution-grid", cells, f"evolution-grid.{display}.png", display=display)
        make("smoothness", [root / "tables/interpolation.csv"], f"smoothness.{display}.png", display=display)
        for model, paths in strips.items():
            make("interpolation-strip", paths, f"interpolation.{model}.{display}.png", display=display)


def cell_name(record: dict) -> str:
    return "-".join(str(record[key]) for key in ("model", "epochs", "start", "passes", "sampler", "steps"))


def write_samples(folder: Path, size: int = 16) -> dict[str, tuple[dict, Path]]:
    written = {}
    for record in all_cells():
        path = folder / f"{cell_name(record)}.npz"
        files.write_npz(path, **samples(record, size=size))
        written[cell_name(record)] = (record, path)
    return written


def write_figures(root: Path, size: int = 16) -> None:
    """Every figure of the study, under the names the report looks for."""
    from ddpm_dip import figures

    known = list(write_samples(root / "samples", size).values())
    write_dip_fit(root / "dip")
    out, table = root / "figures", root / "tables"

    def make(name, inputs, output, **options):
        figures.save(figures.draw(name, inputs, options), out / output)

    make("time-against-steps", [table / "timing.csv"], "time-against-steps.png")
    for name in ("distance-against-steps", "passes-heatmap", "epochs"):
        make(name, [table / "cells.csv"], f"{name}.png")
    make("loss", [table / "training.csv"], "loss.png", published="true")
    make("dip-fit", [root / "dip/fit.csv", root / "dip/fit.npz"], "dip-fit.png")
    chains = [
        path
        for record, path in known
        if record["model"] in MODELS
        and record["epochs"] == 20
        and record["passes"] in (0, 2)
        and record["start"] in ("noise", "dip")
        and record["steps"] in (100, 500, 900)
    ]
    make("brightness-drift", chains, "brightness-drift.png")
    for display in tables.DISPLAY_NAMES:
        for model in MODELS:
            own = [(record, path) for record, path in known if record["model"] in (model, "")]
            quality = [
                path
                for r, path in own
                if r["passes"] in (0, 2) and (r["epochs"] in (20, None)) and r["steps"] in (0, 200, 500)
            ]
            make("strip", quality, f"strip.quality.{model}.{display}.png", row="arm", display=display)
            passes = [
                path
                for r, path in own
                if r["start"] in ("noise", "dip") and r["epochs"] == 20 and r["steps"] in (100, 500, 900)
            ]
            make("strip", passes, f"strip.passes.{model}.{display}.png", row="passes", display=display)
            budgets = [path for r, path in own if r["passes"] == 3 and r["steps"] == 500]
            make("strip", budgets, f"strip.epochs.{model}.{display}.png", row="epochs", display=display)
            for arm, start in (("noise", "noise"), ("dip", "dip")):
                path = [p for r, p in own if r["start"] == start and r["steps"] == 200 and r["passes"] in (0, 2)]
                make("denoising", path, f"denoising.{model}.{arm}.K0200.{display}.gif", display=display)
        inside = [path for r, path in known if r["model"] == "hw4-dip"]
        make("strip", inside, f"strip.dip_in_training.hw4-dip.{display}.png", row="start", display=display)


def write_study(root: Path) -> None:
    write_tables(root / "tables")
    write_figures(root)
    files.write_json(root / "config.json", CONFIG)


if __name__ == "__main__":
    write_study(Path(sys.argv[1]))
    write_study_b(Path(sys.argv[1]) / "study-b")
