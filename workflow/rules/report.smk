# Tables, figures and the report.
WANTED_TABLES, WANTED_FIGURES = tables(), figures()
REPORT = [f"{RESULTS}/report/index.html", f"{RESULTS}/report/summary.txt"]
for name, (_, inputs) in WANTED_TABLES.items():
    file_list(name, inputs)
    stamp("tables", name, {}, [f"{TABLES}/{name}.csv"], inputs)
for name, (kind, inputs, settings, _) in WANTED_FIGURES.items():
    file_list(f"figures/{name}", inputs)
    spec = {"figure": kind, "options": settings}
    if name.endswith(".png"):
        spec |= config["figures"]
    stamp("figure", name, spec, [f"{FIGURES}/{name}"], inputs)

REPORT_INPUTS = {
    # every budget asked for, also one that no experiment uses
    "budgets": [path for path in STAMPS if path.startswith(f"{RESULTS}/models/")],
    "tables": [f"{TABLES}/{name}.csv" for name in WANTED_TABLES],
    "figures": [f"{FIGURES}/{name}" for name in WANTED_FIGURES],
}
REPORT_HELPERS = {
    "config": helper(
        f"{RESULTS}/config.json", json.dumps(config, indent=1, sort_keys=True) + "\n"
    ),
    "provenance": file_list("provenance", records(*made_files())),
    "figure_list": file_list("figures", REPORT_INPUTS["figures"]),
    "stamp": stamp(
        "report",
        "report",
        config,
        REPORT,
        sum(REPORT_INPUTS.values(), []),
        texts=["report.html.j2"],
    ),
}


rule tables:
    input:
        files=lambda wildcards: WANTED_TABLES[wildcards.table][1],
        list=f"{RESULTS}/stamps/lists/{{table}}.txt",
        stamp=f"{RESULTS}/stamps/tables/{{table}}.json",
    output:
        table=report(
            f"{TABLES}/{{table}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        provenance=records(f"{TABLES}/{{table}}.csv"),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    conda:
        "../../envs/plot.yaml"
    params:
        option=lambda wildcards: WANTED_TABLES[wildcards.table][0],
    shell:
        script("tables.py")
        + " {wildcards.table} --{params.option} @{input.list:q} --output {output.table:q}"
        " --stamp {input.stamp:q} > {log:q} 2>&1"


rule figure:
    input:
        files=lambda wildcards: WANTED_FIGURES[wildcards.figure][1],
        list=f"{RESULTS}/stamps/lists/figures/{{figure}}.txt",
        stamp=f"{RESULTS}/stamps/figure/{{figure}}.json",
    output:
        figure=report(
            f"{FIGURES}/{{figure}}",
            caption="../report/figure.rst",
            category=lambda wildcards: WANTED_FIGURES[wildcards.figure][3],
            labels={"figure": "{figure}"},
        ),
        provenance=records(f"{FIGURES}/{{figure}}"),
    log:
        f"{RESULTS}/logs/figure/{{figure}}.log",
    wildcard_constraints:
        figure="[^/]+[.](png|gif)",
    conda:
        "../../envs/plot.yaml"
    params:
        name=lambda wildcards: WANTED_FIGURES[wildcards.figure][0],
        options=lambda wildcards: options(
            option=[
                f"{key}={value}"
                for key, value in WANTED_FIGURES[wildcards.figure][2].items()
            ]
            or None,
            **config["figures"],
        ),
    shell:
        script("figure.py")
        + " {params.name} --inputs @{input.list:q} {params.options}"
        " --output {output.figure:q} --stamp {input.stamp:q} > {log:q} 2>&1"


rule report:
    input:
        **REPORT_INPUTS,
        **REPORT_HELPERS,
    output:
        page=report(
            REPORT[0],
            caption="../report/report.rst",
            category="Report",
            labels={"page": "the whole report"},
        ),
        summary=REPORT[1],
        provenance=records(*REPORT),
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../envs/plot.yaml"
    shell:
        script("report.py") + " --config {input.config:q} --tables {input.tables:q}"
        " --figures @{input.figure_list:q} --provenance @{input.provenance:q}"
        " --output {output.page:q} --summary {output.summary:q} --stamp {input.stamp:q}"
        " > {log:q} 2>&1"
