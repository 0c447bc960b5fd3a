# Train the U-Nets and DCGANs, an epoch budget from the next lower one; fit the DIP net.
TRAIN_THREADS = max(1, (workflow.cores or 1) // len(MODELS))


DIP_SPEC = {"iterations": config["dip"]["iterations"], "seed": config["seed"]}
DIP_STAMP = stamp("fit_dip", "dip", DIP_SPEC, DIP_FILES, [DATA])

for name, model in MODELS.items():
    read = [DATA, DIP] if model.get("dip_passes") else [DATA]
    for epochs in model["epochs"]:
        stamp(
            "train_gan" if name in GANS else "train",
            f"{name}-{epochs:04d}",
            trajectory(name) | {"epochs": epochs},
            snapshot_files(snapshot(name, epochs)),
            read,
        )


SNAPSHOT = snapshot_files(f"{RESULTS}/models/{{model}}/epoch-{{epoch}}")


rule train:
    input:
        unpack(train_inputs),
    output:
        SNAPSHOT,
        provenance=records(*SNAPSHOT),
    log:
        f"{RESULTS}/logs/train/{{model}}-{{epoch}}.log",
    wildcard_constraints:
        model=any_of(MODELS.keys() - GANS),
    priority: 10
    conda:
        "../../envs/sample.yaml"
    threads: TRAIN_THREADS
    resources:
        gpu=GPU,
    params:
        options=train_options,
    shell:
        script("train.py")
        + " {params.options} --threads {threads} --stamp {input.stamp:q} > {log:q} 2>&1"


rule train_gan:
    input:
        unpack(train_inputs),
    output:
        SNAPSHOT,
        provenance=records(*SNAPSHOT),
    log:
        f"{RESULTS}/logs/train/{{model}}-{{epoch}}.log",
    wildcard_constraints:
        model=any_of(GANS),
    priority: 10
    conda:
        "../../envs/sample.yaml"
    threads: TRAIN_THREADS
    resources:
        gpu=GPU,
    params:
        options=train_options,
    shell:
        script("train_gan.py")
        + " {params.options} --threads {threads} --stamp {input.stamp:q} > {log:q} 2>&1"


rule fit_dip:
    input:
        data=DATA,
        stamp=DIP_STAMP,
    output:
        DIP_FILES,
        provenance=records(*DIP_FILES),
    log:
        f"{RESULTS}/logs/fit_dip.log",
    priority: 20
    conda:
        "../../envs/sample.yaml"
    params:
        options=lambda wildcards, output: options(**DIP_SPEC, output=Path(DIP).parent),
    shell:
        script("fit_dip.py") + " {params.options} --data {input.data:q}"
        " --stamp {input.stamp:q} > {log:q} 2>&1"
