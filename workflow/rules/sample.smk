# Sample: one job a cell, and one a way between latents.
for path, cell in CELLS.items():
    gan = cell.model in GANS
    stamp(
        "sample_gan" if gan else "sample",
        path,
        cell_spec(cell) | ({} if gan else {"backend": BACKEND}),
        [f"{RESULTS}/samples/{path}.npz"],
        made_from(cell).values(),
        plugins=[] if gan else [f"warm_starts.{cell.start.replace('-', '_')}"],
    )
for path in INTERPOLATIONS:
    stamp(
        "interpolate",
        path,
        interpolation_spec(path),
        [f"{RESULTS}/interpolations/{path}.npz"],
        [interpolation_weights(path)],
    )


rule sample:
    input:
        unpack(sample_inputs),
    output:
        samples=f"{RESULTS}/samples/{{cell}}.npz",
        provenance=records(f"{RESULTS}/samples/{{cell}}.npz"),
    log:
        f"{RESULTS}/logs/sample/{{cell}}.log",
    wildcard_constraints:
        cell=f"({any_of(['none', *MODELS.keys() - GANS])})/epoch-[0-9]+/[^/]+/K[0-9]+",
    conda:
        "../../envs/sample.yaml"
    resources:
        gpu=GPU,
    params:
        options=sample_options,
    shell:
        script("sample.py") + " {params.options} --threads {threads}"
        " --output {output.samples:q} --stamp {input.stamp:q} > {log:q} 2>&1"


rule sample_gan:
    input:
        unpack(sample_inputs),
    output:
        samples=f"{RESULTS}/samples/{{cell}}.npz",
        provenance=records(f"{RESULTS}/samples/{{cell}}.npz"),
    log:
        f"{RESULTS}/logs/sample/{{cell}}.log",
    wildcard_constraints:
        cell=f"({any_of(GANS)})/epoch-[0-9]+/[^/]+/K[0-9]+",
    conda:
        "../../envs/sample.yaml"
    params:
        options=sample_options,
    shell:
        script("sample_gan.py") + " {params.options} --threads {threads}"
        " --output {output.samples:q} --stamp {input.stamp:q} > {log:q} 2>&1"


rule interpolate:
    input:
        weights=lambda wildcards: interpolation_weights(wildcards.way),
        stamp=f"{RESULTS}/stamps/interpolate/{{way}}.json",
    output:
        images=f"{RESULTS}/interpolations/{{way}}.npz",
        provenance=records(f"{RESULTS}/interpolations/{{way}}.npz"),
    log:
        f"{RESULTS}/logs/interpolate/{{way}}.log",
    conda:
        "../../envs/sample.yaml"
    resources:
        gpu=GPU,
    params:
        options=interpolation_options,
    shell:
        script("interpolate.py") + " {params.options} --threads {threads}"
        " --weights {input.weights:q} --output {output.images:q}"
        " --stamp {input.stamp:q} > {log:q} 2>&1"
