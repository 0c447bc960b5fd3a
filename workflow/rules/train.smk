# Train models, an epoch budget from the next lower one; take those that were trained elsewhere; fit the DIP net.
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
        "../../envs/torch.yaml"
    resources:
        gpu=gpus("train"),
        mem_mb=memory("train"),
        runtime=minutes("train"),
    shell:
        run("train", gpu=True)


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
        "../../envs/torch.yaml"
    resources:
        mem_mb=memory("fit_dip"),
        runtime=minutes("fit_dip"),
    shell:
        run("fit_dip")


rule import_model:
    input:
        job=job("import_model"),
    output:
        results("models/{name}/weights.safetensors"),
    log:
        f"{RESULTS}/logs/import_model/{{name}}.log",
    wildcard_constraints:
        name=names("import_model"),
    priority: 10
    conda:
        "../../envs/torch.yaml"
    shell:
        run("import_model")
