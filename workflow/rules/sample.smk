# Sample: one job a cell.
for path, cell in CELLS.items():
    stamp(
        "sample",
        path,
        cell_spec(cell) | {"backend": BACKEND},
        [f"{RESULTS}/samples/{path}.npz"],
        made_from(cell).values(),
        plugins=[f"warm_starts.{cell.start.replace('-', '_')}"],
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
        cell="[^/]+/epoch-[0-9]+/[^/]+/K[0-9]+",
    conda:
        "../../envs/sample.yaml"
    params:
        options=sample_options,
    shell:
        script("sample.py") + " {params.options} --threads {threads}"
        " --output {output.samples:q} --stamp {input.stamp:q} > {log:q} 2>&1"
