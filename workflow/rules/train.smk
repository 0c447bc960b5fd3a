# Train the U-Nets, an epoch budget from the next lower one; fit the DIP net.
TRAIN_THREADS = max(1, (workflow.cores or 1) // len(MODELS))


DIP_SPEC = {"iterations": config["dip"]["iterations"], "seed": config["seed"]}
DIP_STAMP = stamp("fit_dip", "dip", DIP_SPEC)

for name, model in MODELS.items():
    # what comes before counts too: a budget made on other data is not the wanted one
    before = [DATA_STAMP, DIP_STAMP] if model.get("dip_passes") else [DATA_STAMP]
    spec = {"before": [files.read_json(path) for path in before]}
    stamp("train", name, trajectory(name) | spec)


rule train:
    input:
        unpack(train_inputs),
    output:
        weights=f"{RESULTS}/models/{{model}}/epoch-{{epoch}}/weights.safetensors",
        state=f"{RESULTS}/models/{{model}}/epoch-{{epoch}}/state.safetensors",
        losses=f"{RESULTS}/models/{{model}}/epoch-{{epoch}}/losses.csv",
        provenance=f"{RESULTS}/models/{{model}}/epoch-{{epoch}}/weights.safetensors.provenance.json",
    log:
        f"{RESULTS}/logs/train/{{model}}-{{epoch}}.log",
    priority: 10
    conda:
        "../../envs/sample.yaml"
    threads: TRAIN_THREADS
    params:
        options=lambda wildcards, input, output: options(
            **trajectory(wildcards.model),
            data=input.data,
            dip=input.get("dip"),
            model=wildcards.model,
            epochs=int(wildcards.epoch),
            resume_from=lower_budget(wildcards) if "lower" in input.keys() else None,
            progress=f"{RESULTS}/models/{wildcards.model}/progress-{wildcards.epoch}",
            output=Path(output.weights).parent,
        ),
    shell:
        script("train.py")
        + " {params.options} --threads {threads} --stamp {input.stamp:q} > {log:q} 2>&1"


rule fit_dip:
    input:
        data=DATA,
        stamp=DIP_STAMP,
    output:
        weights=DIP,
        curve=f"{RESULTS}/dip/fit.csv",
        images=f"{RESULTS}/dip/fit.npz",
        provenance=f"{DIP}.provenance.json",
    log:
        f"{RESULTS}/logs/fit_dip.log",
    priority: 20
    conda:
        "../../envs/sample.yaml"
    params:
        options=lambda wildcards, output: options(
            **DIP_SPEC, output=Path(output.weights).parent
        ),
    shell:
        script("fit_dip.py") + " {params.options} --data {input.data:q}"
        " --stamp {input.stamp:q} > {log:q} 2>&1"
