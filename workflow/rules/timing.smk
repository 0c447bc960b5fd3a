# Seconds per image, measured inside one process that has the machine to itself; one job a number of steps.
TIMING = config["timing"]
TIMINGS = []
if TIMING:
    # K = 0: the DIP passes alone
    TIMED = [0, *TIMING["steps"]] if any(TIMING["passes"]) else TIMING["steps"]
    TIMINGS = [f"{RESULTS}/timing/K{steps:04d}.csv" for steps in TIMED]
    TIMED_EPOCHS = max(MODELS[TIMING["model"]]["epochs"])
    TIMED_FILES = {
        "data": DATA,
        "weights": weights_of(TIMING["model"], TIMED_EPOCHS),
        "dip": DIP,
    }
    for steps in TIMED:
        spec = TIMING | {
            "steps": steps,
            "backend": BACKEND,
            "epochs": TIMED_EPOCHS,
        }
        stamp(
            "time_sampling",
            f"K{steps:04d}",
            spec,
            [f"{RESULTS}/timing/K{steps:04d}.csv"],
            TIMED_FILES.values(),
            plugins=["warm_starts.noise", "warm_starts.dip"],
        )

    rule time_sampling:
        input:
            **TIMED_FILES,
            stamp=f"{RESULTS}/stamps/time_sampling/K{{steps}}.json",
        output:
            timing=f"{RESULTS}/timing/K{{steps}}.csv",
            provenance=records(f"{RESULTS}/timing/K{{steps}}.csv"),
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
                backend=BACKEND,
            ),
        shell:
            script("time_sampling.py") + " {params.options} --threads {threads}"
            " --data {input.data:q} --weights {input.weights:q} --dip {input.dip:q}"
            " --output {output.timing:q} --stamp {input.stamp:q} > {log:q} 2>&1"
