"""The report: one self-contained HTML page, and a short table for the terminal."""

import base64
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import labels, tables, verdicts_b
from . import verdicts as verdicts_a
from .labels import compact
from .sections import Report, Study, known, models_of, sections, setting
from .verdicts import AGREES, DISAGREES, NOT_DECIDED, RULE, tally

__all__ = ["Study", "page", "picture", "summary"]

STUDY_A = ("steps", "quality", "passes", "epochs", "dip_in_training")  # the experiments of study A
PER_INCH = 100  # CSS pixels of the page for an inch of a figure


def page(
    study: Study,
    found: Mapping[str, pd.DataFrame],
    figures: list[dict],
    records: dict[str, dict],
    reasons: dict[str, list[str]] | None = None,
) -> str:
    """The page's HTML.

    found: the tables by name, cells among them, as `tables.with_floors` returns it. figures: each a mapping of file,
    section, title, caption, alt and `data`, the bytes of a PNG or GIF file. records: of results, by path. reasons: why
    a metric was not computed, by metric.
    A section whose parts are missing is left out, and so are the claims of a study that has none.
    """
    pictures = [figure | {"image": picture(figure["data"])} for figure in figures]
    report = Report(study, found, pictures, records, reasons or {})
    cells, config = found["cells"], study.config
    evolution = study.experiments.get("evolution")
    study_b = evolution is not None or "interpolation" in found
    study_a = not study_b or "timing" in found or any(name in study.experiments for name in STUDY_A)
    judged = []
    if study_a:
        networks = {name: model.get("network", name) for name, model in models_of(config).items()}
        with_dip = [name for name, model in models_of(config).items() if model.get("dip_passes")]
        judged += verdicts_a.verdicts(verdicts_a.usual(cells, config), report.table("timing"), networks, with_dip)
    if study_b:
        own = None if evolution is None else verdicts_a.usual(cells[cells["path"].isin(evolution["cells"])], config)
        judged += verdicts_b.verdicts(own, found.get("interpolation"))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = list(enumerate(sections(report), start=1))
    bodies = [environment.get_template(part.template).render(key=part.key, **part.context) for _, part in parts]
    return environment.get_template("page.html.j2").render(
        study=str(config.get("study", "study")),
        study_a=study_a,
        study_b=study_b,
        dataset=str(setting(config, "data", "dataset") or ""),
        size=setting(config, "data", "image_size"),
        n=sorted(set(cells["n"].dropna())),
        n_reference=[] if report.table("floors") is None else sorted(set(found["floors"]["n_reference"].dropna())),
        replicates=sorted(set(cells["replicate"])),
        sections=[(number, part, body) for (number, part), body in zip(parts, bodies, strict=True)],
        verdicts=judged,
        counts={word: sum(v.verdict == word for v in judged) for word in (AGREES, DISAGREES, NOT_DECIDED)},
        tally=tally,
        rule=RULE,
        respaced=any(row["nfe"] != row["steps"] for row in tables.rows_of(cells)),
        labelled=tables.distance(cells) == "fd_classifier",
        fid=fid_note(cells, report.reasons),
    )


def picture(data: bytes) -> dict:
    """A PNG or GIF as a data address, with its size on the page in CSS pixels: by a PNG's inches, by a GIF's pixels."""
    if data[:3] == b"GIF":
        kind, (width, height) = "gif", (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    else:
        kind, (width, height) = "png", (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        scale = PER_INCH / dpi_of(data)
        width, height = round(width * scale), round(height * scale)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"src": source, "width": width, "height": height, "kind": kind}


def dpi_of(png: bytes) -> float:
    """The dots per inch that a PNG file says of itself, in its pHYs chunk per metre; 150 where it says nothing."""
    at = 8
    while at + 12 <= len(png):
        length, name = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if name == b"pHYs":
            return int.from_bytes(png[at + 8 : at + 12], "big") * 0.0254
        at += 12 + length
    return 150.0


def fid_note(cells: pd.DataFrame, reasons: dict[str, list[str]]) -> str:
    """What the page says where FID is empty; "" where all of it was computed."""
    empty = int(cells["fid_inception"].isna().sum())
    if not empty:
        return ""
    why = "; ".join(reasons.get("fid_inception", [])) or "the reason is in each cell's metrics file"
    some = "" if empty == len(cells) else f" for {empty} of {len(cells)} rows"
    return f"FID (Inception features): not computed{some}: {why}."


def summary(study: Study, found: Mapping[str, pd.DataFrame], output: str, lines: int = 25) -> str:
    """The best arm per model and K in 100 columns, means over replicates; the last line says where the page is."""
    cells, timing = found["cells"], found.get("timing")
    metric = tables.distance(cells)
    rows = [row for row in tables.rows_of(cells) if known(row[metric]) and labels.arm_of(row) != labels.ALONE]
    largest: dict[str, int] = {}
    for row in rows:
        largest[row["model"]] = max(largest.get(row["model"], 0), row["epochs"] or 0)
    rows = [row for row in rows if (row["epochs"] or 0) == largest[row["model"]]]
    seconds = {}
    if timing is not None and len(timing):
        first = timing[(timing["batch"] == timing["batch"].min()) & (timing["method"] == "ddpm")]
        seconds = dict(zip(first["steps"], first["median_s"], strict=True))
    name, by = "FD", "Fréchet distance on classifier features"
    if metric == "fid_inception":
        name, by = (
            "FID",
            "FID" if rows else "FID, which was not computed; there are no labels for another distance",
        )
    title = f"{study.config.get('study', 'study')}: best arm by {by}"
    columns = "".join(f"  {d + ': best arm':<18}{name:>7}{'floor':>6}" for d in labels.DISPLAY_NAMES)
    head = f"{'model':<16}{'K':>5}{columns}{'s/img':>8}"
    body = []
    for same in labels.grouped(rows, ["model", "weights", "steps"]).values():
        model, k = labels.variant(same[0]["model"], same[0]["weights"]), same[0]["steps"]
        cut = [f"{model if len(model) < 16 else model[:14] + '…':<16}{'–' if k is None else k:>5}"]
        for display in labels.DISPLAY_NAMES:
            arms = labels.grouped([r for r in same if r["display"] == display], [*labels.ARM_AXES, "nfe"])
            if not arms:
                cut.append(f"{'–':<18}{'–':>7}{'–':>6}")
                continue
            means = {key: float(np.mean([row[metric] for row in part])) for key, part in arms.items()}
            best = min(means, key=means.get)
            row = arms[best][0]
            label = labels.arm(row) + ("" if row["nfe"] == k else f", {row['nfe']}")
            cut.append(f"{label[:18]:<18}{compact(means[best]):>7}{compact(row[f'{metric}_floor']):>6}")
        time = seconds.get(k)
        body.append("  ".join(cut) + (f"{time:>8.3g}" if time is not None else f"{'–':>8}"))
    room = lines - 4
    if len(body) > room:
        body = [*body[: room - 1], f"... and {len(body) - room + 1} more rows in the report"]
    ended = "floor: real against real; s/img: median seconds per image, DDPM, smallest batch timed"
    return "\n".join(line[:100] for line in (title, head, *body, ended)) + f"\nreport: {output}\n"
