# Distances of each cell's samples from the held-out reference images.
rule train_classifier:
    input:
        job=job("train_classifier"),
        reads=reads("train_classifier"),
        kept=kept("train_classifier"),
    output:
        results("classifier/{name}.safetensors"),
    log:
        f"{RESULTS}/logs/train_classifier/{{name}}.log",
    wildcard_constraints:
        name=names("train_classifier"),
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=memory("train_classifier"),
        runtime=minutes("train_classifier"),
    shell:
        run("train_classifier")


rule fetch_inception:
    input:
        job=job("fetch_inception"),
    output:
        results("inception/{name}.json"),
    log:
        f"{RESULTS}/logs/fetch_inception/{{name}}.log",
    wildcard_constraints:
        name=names("fetch_inception"),
    conda:
        "../../envs/torch.yaml"
    shell:
        run("fetch_inception")


rule reference_features:
    input:
        job=job("reference_features"),
        reads=reads("reference_features"),
        kept=kept("reference_features"),
    output:
        results("reference/{name}.npz"),
    log:
        f"{RESULTS}/logs/reference_features/{{name}}.log",
    wildcard_constraints:
        name=names("reference_features"),
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=gpus("reference_features"),
        mem_mb=memory("reference_features"),
        runtime=minutes("reference_features"),
    shell:
        run("reference_features", gpu=True)


rule floors:
    input:
        job=job("floors"),
        reads=reads("floors"),
        kept=kept("floors"),
    output:
        results("tables/{name}.csv"),
    log:
        f"{RESULTS}/logs/{{name}}.log",
    wildcard_constraints:
        name=names("floors"),
    conda:
        "../../envs/torch.yaml"
    shell:
        run("floors")


rule starts:
    input:
        job=job("starts"),
        reads=reads("starts"),
        kept=kept("starts"),
    output:
        results("tables/starts.csv", "tables/spectra.csv"),
    log:
        f"{RESULTS}/logs/starts.log",
    conda:
        "../../envs/torch.yaml"
    shell:
        run("starts")


rule evaluate:
    input:
        job=job("evaluate"),
        reads=reads("evaluate"),
        kept=kept("evaluate"),
    output:
        results("metrics/{name}.json", "pictures/{name}.json"),
    log:
        f"{RESULTS}/logs/evaluate/{{name}}.log",
    wildcard_constraints:
        name=names("evaluate"),
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=gpus("evaluate"),
        mem_mb=memory("evaluate"),
        runtime=minutes("evaluate"),
    shell:
        run("evaluate", gpu=True)


rule evaluate_interpolation:
    input:
        job=job("evaluate_interpolation"),
        reads=reads("evaluate_interpolation"),
        kept=kept("evaluate_interpolation"),
    output:
        results("interpolations/{name}.json"),
    log:
        f"{RESULTS}/logs/evaluate_interpolation/{{name}}.log",
    wildcard_constraints:
        name=names("evaluate_interpolation"),
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=memory("evaluate_interpolation"),
        runtime=minutes("evaluate_interpolation"),
    shell:
        run("evaluate_interpolation")
