# Distances of each cell's samples from the held-out reference images.
REFERENCE = f"{RESULTS}/reference/features.npz"
METRICS = {path: f"{RESULTS}/metrics/{path}.json" for path in CELLS}


CLASSIFIER_SPEC = {
    "epochs": config["metrics"]["classifier_epochs"],
    "seed": config["seed"],
}
INCEPTION_SPEC = {"from": config["metrics"]["inception_weights"]}
NETS_SPEC = {"nets": sorted(feature_nets())}

CLASSIFIER_STAMP = stamp(
    "train_classifier", "classifier", CLASSIFIER_SPEC, [CLASSIFIER], [DATA]
)
INCEPTION_STAMP = stamp("fetch_inception", "inception", INCEPTION_SPEC, [INCEPTION])
REFERENCE_STAMP = stamp(
    "reference_features",
    "reference",
    NETS_SPEC,
    [REFERENCE],
    [DATA, *feature_nets().values()],
)
for path in CELLS:
    stamp(
        "evaluate",
        path,
        NETS_SPEC,
        [METRICS[path]],
        [f"{RESULTS}/samples/{path}.npz", REFERENCE, *feature_nets().values()],
    )


SMOOTHNESS = {path: f"{RESULTS}/interpolations/{path}.json" for path in INTERPOLATIONS}
SMOOTHNESS_NETS = {
    name: path for name, path in feature_nets().items() if name == "classifier"
}
for path in INTERPOLATIONS:
    stamp(
        "evaluate_interpolation",
        path,
        {"nets": sorted(SMOOTHNESS_NETS)},
        [SMOOTHNESS[path]],
        [f"{RESULTS}/interpolations/{path}.npz", *SMOOTHNESS_NETS.values()],
    )


rule train_classifier:
    input:
        data=DATA,
        stamp=CLASSIFIER_STAMP,
    output:
        classifier=CLASSIFIER,
        provenance=records(CLASSIFIER),
    log:
        f"{RESULTS}/logs/train_classifier.log",
    conda:
        "../../envs/evaluate.yaml"
    params:
        options=options(**CLASSIFIER_SPEC),
    shell:
        script("train_classifier.py") + " {params.options} --data {input.data:q}"
        " --output {output.classifier:q} --stamp {input.stamp:q} > {log:q} 2>&1"


rule fetch_inception:
    input:
        stamp=INCEPTION_STAMP,
    output:
        inception=INCEPTION,
        provenance=records(INCEPTION),
    log:
        f"{RESULTS}/logs/fetch_inception.log",
    conda:
        "../../envs/evaluate.yaml"
    params:
        options=options(**INCEPTION_SPEC),
    shell:
        script("fetch_inception.py") + " {params.options}"
        " --output {output.inception:q} --stamp {input.stamp:q} > {log:q} 2>&1"


rule reference_features:
    input:
        **feature_nets(),
        data=DATA,
        stamp=REFERENCE_STAMP,
    output:
        reference=REFERENCE,
        provenance=records(REFERENCE),
    log:
        f"{RESULTS}/logs/reference_features.log",
    conda:
        "../../envs/evaluate.yaml"
    params:
        options=options(**feature_nets()),
    shell:
        script("reference_features.py") + " {params.options} --data {input.data:q}"
        " --output {output.reference:q} --stamp {input.stamp:q} > {log:q} 2>&1"


rule evaluate:
    input:
        **feature_nets(),
        samples=f"{RESULTS}/samples/{{cell}}.npz",
        reference=REFERENCE,
        stamp=f"{RESULTS}/stamps/evaluate/{{cell}}.json",
    output:
        metrics=f"{RESULTS}/metrics/{{cell}}.json",
        provenance=records(f"{RESULTS}/metrics/{{cell}}.json"),
    log:
        f"{RESULTS}/logs/evaluate/{{cell}}.log",
    conda:
        "../../envs/evaluate.yaml"
    params:
        options=options(**feature_nets()),
    shell:
        script("evaluate.py") + " {params.options} --samples {input.samples:q}"
        " --reference {input.reference:q} --output {output.metrics:q}"
        " --stamp {input.stamp:q} > {log:q} 2>&1"


rule evaluate_interpolation:
    input:
        **SMOOTHNESS_NETS,
        images=f"{RESULTS}/interpolations/{{way}}.npz",
        stamp=f"{RESULTS}/stamps/evaluate_interpolation/{{way}}.json",
    output:
        measures=f"{RESULTS}/interpolations/{{way}}.json",
        provenance=records(f"{RESULTS}/interpolations/{{way}}.json"),
    log:
        f"{RESULTS}/logs/evaluate_interpolation/{{way}}.log",
    wildcard_constraints:
        way="[^.]+",
    conda:
        "../../envs/evaluate.yaml"
    params:
        options=options(**SMOOTHNESS_NETS),
    shell:
        script("evaluate_interpolation.py")
        + " {params.options} --images {input.images:q}"
        " --output {output.measures:q} --stamp {input.stamp:q} > {log:q} 2>&1"
