"""The first samples of cells: rows and blocks of pictures, a figure a panel and display, of the lowest replicate."""

from collections.abc import Iterator

from ...study.plan import samples_of
from .. import labels
from ..plan import Wanted, file_name, point_name, section, showing

ROLES = ("row", "block", "panel")
OPTIONS = ()


def wanted(study) -> Iterator[Wanted]:
    for part, roles in showing(study, "strips"):
        lowest = min(cell.replicate for cell in part.cells)
        cells = {cell: cell._asdict() for cell in part.cells if cell.replicate == lowest}
        points = {id(point): cell for cell, point in cells.items()}
        rows, blocks = labels.told(roles["row"]), labels.told(roles["block"])
        panels = labels.panels(list(cells.values()), roles["panel"], roles["block"] or roles["row"])
        for points_of in panels.values():
            chosen = [points[id(point)] for point in points_of]
            name = labels.words(roles["panel"], points_of[0]) or labels.alike(points_of, ["model"]) or "Samples"
            for display in labels.DISPLAY_NAMES:
                what = (
                    " and ".join([f"rows by {rows}"] * bool(rows) + [f"blocks by {blocks}"] * bool(blocks)) or "one row"
                )
                count = "first 8 samples" if blocks else "first 16 samples"
                yield Wanted(
                    file=file_name("strips", part.name, point_name(chosen[0], roles["panel"]), display),
                    kind="strips",
                    options={**roles, "display": display},
                    inputs={"samples": [samples_of(cell) for cell in chosen]},
                    section=section(part.name),
                    title=name,
                    caption=f"{name}, {display}: {what}. Always the {count}; none was selected.",
                    alt=f"{name}: pictures, {what}, {display} display",
                    shows={"model": name, "display": display},
                )


def draw(inputs: dict, options: dict):
    from ...jobs.errors import UserError
    from .. import canvas

    row, block, panel = (list(options.get(role) or []) for role in ROLES)
    display = options["display"]
    cells = [archive["cell"] for archive in inputs["samples"]]
    columns = canvas.SHOWN if block else 2 * canvas.SHOWN
    rows = {key: labels.words(row, part[0]) or labels.arm(part[0]) for key, part in labels.grouped(cells, row).items()}
    blocks = {key: labels.words(block, part[0]) for key, part in labels.grouped(cells, block).items()}
    everywhere = tuple(None for _ in block)  # what has no block stands beside every block
    if len(blocks) > 1:
        blocks.pop(everywhere, None)
    images: dict = {}
    for archive in inputs["samples"]:
        cell, pictures = archive["cell"], canvas.shown(archive["samples"][:columns], display)
        at, key = labels.key(row, cell), labels.key(block, cell)
        for each in [key] if key in blocks else blocks:
            if (at, each) in images:
                raise UserError(f"strips: a second cell at {rows[at]}, {blocks[each]}: {labels.name(cell)}")
            images[at, each] = pictures
    columns = max(map(len, images.values()))
    shared = [cell for cell in cells if cell["start"] is not None] or cells
    fixed = labels.alike(
        shared, [axis for axis in ("model", "weights", "epochs", "steps") if axis not in (*row, *block)]
    )
    title = f"{fixed}: " * bool(fixed) + f"the first {columns} samples, {labels.DISPLAY_LABELS[display]}"
    return canvas.mosaic(images, rows, blocks, title[0].upper() + title[1:] if not fixed else title, columns)
