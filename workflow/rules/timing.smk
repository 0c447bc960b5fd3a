# Seconds per image, measured inside one process that has the machine to itself; one job a number of steps.
TIMING = config["timing"]
TIMINGS = []
if TIMING:
    TIMINGS = [f"{RESULTS}/timing/K{steps:04d}.csv" for steps in TIMING["steps"]]
    for steps in TIMING["steps"]:
        spec = TIMING | {
            "steps": steps,
            "backend": config["sampling"]["backend"],
            "epochs": max(MODELS[TIMING["model"]]["epochs"]),
        }
        stamp(
            "time_sampling",
            f"K{steps:04d}",
            spec,
            plugins=["warm_starts.noise", "warm_starts.dip"],
        )

    rule time_sampling:
        input:
            data=DATA,
            dip=DIP,
            weights=weights_of(TIMING["model"], max(MODELS[TIMING["model"]]["epochs"])),
            stamp=f"{RESULTS}/stamps/time_sampling/K{{steps}}.json",
        output:
            timing=f"{RESULTS}/timing/K{{steps}}.csv",
            provenance=f"{RESULTS}/timing/K{{steps}}.csv.provenance.json",
        log:
            f"{RESULTS}/logs/time_sampling/K{{steps}}.log",
        conda:
            "../../envs/sample.yaml"
        threads: workflow.cores
        params:
            options=lambda wildcards: options(
                steps=int(wildcards.steps),
                passes=TIMING["passes"],
                batches=TIMING["batches"],
                repeats=TIMING["repeats"],
                backend=config["sampling"]["backend"],
            ),
        shell:
            script("time_sampling.py") + " {params.options} --threads {threads}"
            " --data {input.data:q} --weights {input.weights:q} --dip {input.dip:q}"
            " --output {output.timing:q} --stamp {input.stamp:q} > {log:q} 2>&1"
