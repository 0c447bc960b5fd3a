# Get and prepare the data: one file with its train and reference parts.
rule prepare_data:
    input:
        job=job("prepare_data"),
    output:
        results("data/{name}.npz"),
    log:
        f"{RESULTS}/logs/prepare_data/{{name}}.log",
    wildcard_constraints:
        name=names("prepare_data"),
    conda:
        "../../envs/torch.yaml"
    shell:
        run("prepare_data")
