# Seconds per image, measured inside one process that has the machine to itself: a job a net.
rule time_sampling:
    input:
        job=job("time_sampling"),
        reads=reads("time_sampling"),
        kept=kept("time_sampling"),
    output:
        results("timing/{name}.csv"),
    log:
        f"{RESULTS}/logs/time_sampling/{{name}}.log",
    wildcard_constraints:
        name=names("time_sampling"),
    conda:
        "../../envs/sample.yaml"
    threads: CORES
    resources:
        gpu=GPU,
    shell:
        run("time_sampling")
