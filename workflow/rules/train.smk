# Train models, an epoch budget from the next lower one; fit the DIP net.
SNAPSHOT = ("weights.safetensors", "state.safetensors", "losses.csv")


rule train:
    input:
        job=job("train"),
        reads=reads("train"),
        kept=kept("train"),
    output:
        results(*(f"models/{{name}}/{file}" for file in SNAPSHOT)),
    log:
        f"{RESULTS}/logs/train/{{name}}.log",
    wildcard_constraints:
        name=names("train"),
    priority: 10
    conda:
        "../../envs/sample.yaml"
    threads: max(1, CORES // max(1, len({name.rpartition("/")[0] for name in TRAINED})))
    resources:
        gpu=GPU,
    shell:
        run("train")


rule fit_dip:
    input:
        job=job("fit_dip"),
        reads=reads("fit_dip"),
        kept=kept("fit_dip"),
    output:
        results(
            *(
                f"dip/{{name}}/{file}"
                for file in ("weights.safetensors", "fit.csv", "fit.npz")
            )
        ),
    log:
        f"{RESULTS}/logs/fit_dip/{{name}}.log",
    wildcard_constraints:
        name=names("fit_dip"),
    priority: 20
    conda:
        "../../envs/sample.yaml"
    shell:
        run("fit_dip")
