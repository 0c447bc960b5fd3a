"""The report: one self-contained HTML page, and a short table for the terminal."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..evaluation.measures import LEAST_N
from . import claims as told
from . import explorer, labels, sprites, tables
from .sections import Report, Study, groups, sections, setting

__all__ = ["Study", "page", "picture", "summary"]

STUDY_A = ("steps", "quality", "passes", "epochs", "dip_in_training")  # the experiments of study A
TEMPLATES = Path(__file__).with_name("templates")
SCRIPTS = ("tables", "charts", "explorer", "address", "main")  # in this order
PER_INCH = 100  # CSS pixels of the page for an inch of a figure
MOST = 14_000_000  # characters of a page: films for which there is no room are left out, and it says so


def page(
    study: Study,
    found: Mapping[str, pd.DataFrame],
    figures: list[dict],
    records: dict[str, dict],
    reasons: dict[str, list[str]] | None = None,
    pictures: Mapping[str, dict] | None = None,
    vega: str = "",
) -> str:
    """The page's HTML.

    found: the tables by name, cells among them, as `tables.with_floors` returns it. figures: each a mapping of file,
    kind, section, title, caption, alt, `data`, the bytes of a PNG file, and `charts`, as `charts.document` makes them.
    records: of results, by path. reasons: why a metric was not computed, by metric. pictures: of cells, by path, as
    `sprites.of_cell` makes them. vega: the script that draws charts.

    A section whose parts are missing is left out, and so are the claims of a study that has none.
    """
    charts = [chart for figure in figures for chart in figure["charts"]]
    numbers = iter(range(len(charts)))
    shown = [
        figure
        | {"image": picture(figure["data"])}
        | {"charts": [{"number": next(numbers), "title": chart["title"]} for chart in figure["charts"]]}
        for figure in figures
    ]
    lead = next((figure for figure in shown if figure["kind"] == "pareto"), None)  # on the first screen
    report = Report(study, found, [figure for figure in shown if figure is not lead], records, reasons or {})
    cells, config = found["cells"], study.config
    evolution = study.experiments.get("evolution")
    study_b = evolution is not None or "interpolation" in found
    study_a = not study_b or "timing" in found or any(name in study.experiments for name in STUDY_A)
    judged = [] if report.table("claims") is None else told.rows_of(found["claims"])
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = list(enumerate(sections(report), start=1))
    bodies = [environment.get_template(part.template).render(key=part.key, **part.context) for _, part in parts]
    own = "".join((TEMPLATES / f"page/{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    scripts = [script.replace("</script", "<\\/script") for script in (vega, own) if script]
    known = explorer.data(
        found, sprites.within(pictures or {}, 0), charts, study.contrasts, study.timesteps, study.display
    )
    parts_of_page = dict(
        style=(TEMPLATES / "page/page.css").read_text(encoding="utf-8"),
        scripts=[(script, digest(script)) for script in scripts],
        displays=known["displays"],
        metrics=known["metrics"],
        lead=lead,
        settings=explorer.settings_in_words(config, cells),
        study=str(config.get("study", "study")),
        study_a=study_a,
        with_dip=bool(cells["passes"].notna().any()),
        study_b=study_b,
        dataset=str(setting(config, "data", "dataset") or ""),
        size=setting(config, "data", "image_size"),
        n=sorted(set(cells["n"].dropna())),
        n_reference=[] if report.table("floors") is None else sorted(set(found["floors"]["n_reference"].dropna())),
        replicates=sorted(set(cells["replicate"])),
        sections=[(number, part, body) for (number, part), body in zip(parts, bodies, strict=True)],
        answer=told.clauses(
            told.headline(found.get("speedups"), found.get("claims"), str(setting(config, "data", "dataset")))
        ),
        claims=judged,
        least_n=LEAST_N,
        usual_model=Counter(row["model"] for row in judged if row["verdict"] != "not asked").most_common(1)[0][0]
        if any(row["verdict"] != "not asked" for row in judged)
        else "",
        forest=groups(report, "claims"),
        respaced=any(row["nfe"] != row["steps"] for row in tables.rows_of(cells)),
        distance=tables.distance(cells),
        fid=fid_note(cells, report.reasons),
    )

    def rendered() -> str:
        data = json.dumps(known, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return environment.get_template("page.html.j2").render(data=data, **parts_of_page)

    known["sprites"] = sprites.within(pictures or {}, MOST - len(rendered()))
    return rendered()


def digest(script: str) -> str:
    """What the page's content policy knows a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def picture(data: bytes) -> dict:
    """A PNG as a data address, with its size on the page in CSS pixels, by its inches."""
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    scale = PER_INCH / dpi_of(data)
    return {"src": sprites.address(data, "png"), "width": round(width * scale), "height": round(height * scale)}


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


def summary(study: Study, found: Mapping[str, pd.DataFrame], output: str, lines: int = 26) -> str:
    """The answer in one line, the claims, and each arm's standing, in 110 columns; last, where the page is.

    No arm is called best: each is compared with the starts that cost nothing, and a tie is said to be one.
    """
    dataset = str(setting(study.config, "data", "dataset"))
    answer = told.headline(found.get("speedups"), found.get("claims"), dataset)
    body = []
    if (claims := found.get("claims")) is not None:
        judged = [row for row in told.rows_of(claims) if row["verdict"] != "not asked"]
        wide = max((len(row["claim"]) for row in judged), default=0) + 1
        for row in judged:
            body.append(f"{row['claim']:<{wide}}{row['model'][:10]:<11}{row['verdict']:<13}{row['statement']}")
    if (differences := found.get("differences")) is not None and len(differences):
        body += ["", "Each arm by itself: of so many comparisons about one in twenty differs by chance alone."]
        body += [f"{'model':<14}{'chain':<14}{'arm':<30}{'against noise':<22}against gaussian"]
        for each in told.standing(differences, study.display):
            cell = each["cell"]
            chain = f"K = {cell['steps']}" + (f", {cell['nfe']}" if cell["nfe"] != cell["steps"] else "")
            left = f"{cell['model'][:13]:<14}{chain:<14}{labels.arm(cell)[:29]:<30}"
            body.append(left + f"{brief(each['against'].get('noise')):<22}{brief(each['against'].get('gaussian'))}")
    room = lines - 2
    if len(body) > room:
        body = [*body[: room - 1], f"... and {len(body) - room + 1} more lines in the report"]
    return "\n".join([answer, *(line[:110].rstrip() for line in body)]) + f"\nreport: {output}\n"


def brief(row: Mapping | None) -> str:
    """A difference without its interval."""
    return told.against(row).split(" (")[0]
