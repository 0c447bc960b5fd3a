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
        "../../envs/torch.yaml"
    threads: ALL_CORES
    resources:
        gpu=gpus("time_sampling"),
        mem_mb=memory("time_sampling"),
        runtime=minutes("time_sampling"),
    shell:
        run("time_sampling", gpu=True)
