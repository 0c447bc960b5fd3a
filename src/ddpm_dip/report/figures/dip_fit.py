"""The DIP fit of the lowest replicate: PSNR by iteration with the reverts marked, and the three pictures."""

from collections.abc import Iterator

from ...study.plan import dip_of, replicates_with_dip
from .. import labels, published
from ..plan import Wanted, file_name

ROLES = ()


def wanted(study) -> Iterator[Wanted]:
    for replicate in replicates_with_dip(study)[:1]:
        folder, old = dip_of(replicate), published.DIP_FIT
        yield Wanted(
            file=file_name("dip-fit"),
            kind="dip-fit",
            options={},
            inputs={"tables": {"curve": f"{folder}/fit.csv"}, "pictures": f"{folder}/fit.npz"},
            section="dip-fit",
            title="The fit",
            caption="The DIP net is fitted to one noisy image. PSNR (higher is closer) to the noisy and to the clean "
            "image; triangles mark where the fit went back to kept parameters after a drop of more than 5 dB. The "
            f"study's last line, on its own image: loss {old['loss']}, {old['psnr_noisy']:.2f} dB to the noisy image "
            f"and {old['psnr_clean']:.2f} dB to the clean one.",
            alt="Line chart of PSNR by iteration, and three pictures: clean digit, noisy digit, DIP output",
        )


def draw(inputs: dict, options: dict):
    from .. import canvas

    table, arrays = inputs["tables"]["curve"], inputs["pictures"]
    fig = canvas.plt.figure(figsize=(canvas.WIDTH, 3.9), layout="constrained", dpi=canvas.DPI)
    grid = fig.add_gridspec(1, 2, width_ratios=[1.25, 1])
    axis = fig.add_subplot(grid[0])
    for column, label, colour in (
        ("psnr_noisy", "to the noisy image", labels.BRIGHT[7]),
        ("psnr_clean", "to the clean image", labels.BRIGHT[0]),
        ("psnr_smoothed", "smoothed output to clean", labels.BRIGHT[1]),
    ):
        if column in table and table[column].notna().any():
            last = f"{label}: {table[column].iloc[-1]:.1f} dB at the end"
            axis.plot(table["iteration"], table[column], color=colour, lw=1.7, label=last)
    reverts = table.loc[table["reverted"].astype(str).isin(["True", "1", "1.0"]), "iteration"]
    if len(reverts):
        low = axis.get_ylim()[0]
        axis.plot(
            reverts,
            [low] * len(reverts),
            "v",
            color="black",
            ms=6,
            clip_on=False,
            label=f"went back to kept parameters ({len(reverts)}×)",
            ls="none",
        )
        axis.set_ylim(bottom=low)
    axis.set(title="PSNR while fitting", xlabel="Adam iteration", ylabel="PSNR (dB)")
    axis.legend(fontsize="small", loc="lower right")
    pictures = grid[1].subgridspec(1, 3)
    for column, name in enumerate(("clean", "noisy", "output")):
        picture = fig.add_subplot(pictures[column])
        image = arrays[name][0]
        image = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        picture.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        picture.set_title(name)
        picture.axis("off")
    fig.suptitle("Deep Image Prior fitted to one noisy image (32 x 32)", fontsize="medium")
    return fig
