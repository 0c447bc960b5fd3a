"""The DCGANs' losses by epoch, the discriminator's and the generator's; replicates are a band."""

from collections.abc import Iterator

from .. import labels
from ..plan import Wanted, file_name, uses

ROLES = ()


def wanted(study) -> Iterator[Wanted]:
    if uses(study, "dcgan"):
        yield Wanted(
            file=file_name("gan-loss"),
            kind="gan-loss",
            options={},
            inputs={"tables": {"gan_training": "tables/gan_training.csv"}},
            section="training",
            title="The DCGAN's losses",
            caption="The DCGAN's two losses. They do not measure quality: each net's loss depends on how good the "
            "other one is.",
            alt="Line chart: mean losses of discriminator and generator by epoch",
        )


def draw(inputs: dict, options: dict):
    import numpy as np

    from .. import canvas

    table = inputs["tables"]["gan_training"]
    fig, ((axis,),) = canvas.subplots(1, 1, 3.6)
    colours = labels.model_colours(table["model"])
    for model, rows in table.groupby("model"):
        for column, part, style in (("loss_d", "discriminator", "-"), ("loss_g", "generator", "--")):
            look = {"color": colours[model], "ls": style, "lw": 1.8, "label": f"{model}, {part}"}
            canvas.line_with_band(axis, rows, "epoch", column, **look)
    axis.axhline(2 * np.log(2), color=canvas.GREY, ls=":", lw=1.4, label="discriminator that cannot tell: 2 ln 2")
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(canvas.plt.MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set(title="Mean adversarial losses by epoch", xlabel="epoch", ylabel="cross-entropy (nats)")
    axis.legend(fontsize="small")
    return fig
