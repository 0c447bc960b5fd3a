# Sample: a job a cell, and one a way between two latents.
rule sample:
    input:
        job=job("sample"),
        reads=reads("sample"),
        kept=kept("sample"),
    output:
        [update(path) for path in results("samples/{name}.npz")],  # more images append
    log:
        f"{RESULTS}/logs/sample/{{name}}.log",
    wildcard_constraints:
        name=names("sample"),
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=gpus("sample"),
        mem_mb=memory("sample"),
        runtime=minutes("sample"),
    shell:
        run("sample", gpu=True)


rule interpolate:
    input:
        job=job("interpolate"),
        reads=reads("interpolate"),
        kept=kept("interpolate"),
    output:
        # the record stays until there is another one: it says which claims were there first
        [update(path) for path in results("interpolations/{name}.npz")],
    log:
        f"{RESULTS}/logs/interpolate/{{name}}.log",
    wildcard_constraints:
        name=names("interpolate"),
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=gpus("interpolate"),
        mem_mb=memory("interpolate"),
        runtime=minutes("interpolate"),
    shell:
        run("interpolate", gpu=True)
