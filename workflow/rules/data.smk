# Get and prepare the data: one file with its train and reference parts.
DATA_SPEC = config["data"] | {"seed": config["seed"]}
SOURCES = data.listing(config["data"]["root"], config["data"]["sha256"])
DATA_STAMP = stamp(
    "prepare_data",
    config["data"]["dataset"],
    DATA_SPEC | {"sources": SOURCES},
    [DATA],
    plugins=[f"data.{config['data']['dataset'].replace('-', '_')}"],
)


rule prepare_data:
    input:
        stamp=DATA_STAMP,
    output:
        data=DATA,
        provenance=records(DATA),
    log:
        f"{RESULTS}/logs/prepare_data.log",
    conda:
        "../../envs/data.yaml"
    params:
        options=options(**DATA_SPEC, cache="results/downloads"),
    shell:
        script("prepare_data.py") + " {params.options}"
        " --output {output.data:q} --stamp {input.stamp:q} > {log:q} 2>&1"
