# Tables, figures and the report.
rule tables:
    input:
        job=job("tables"),
        reads=reads("tables"),
        kept=kept("tables"),
    output:
        table=report(
            f"{RESULTS}/tables/{{name}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{name}"},
        ),
        record=f"{RESULTS}/tables/{{name}}.csv{RECORD}",
    log:
        f"{RESULTS}/logs/tables/{{name}}.log",
    wildcard_constraints:
        name=names("tables"),
    conda:
        "../../envs/plot.yaml"
    shell:
        run("tables")


rule claims:
    input:
        job=job("claims"),
        reads=reads("claims"),
        kept=kept("claims"),
    output:
        results(*(f"tables/{name}.csv" for name in plan.JUDGED)),
    log:
        f"{RESULTS}/logs/claims.log",
    conda:
        "../../envs/plot.yaml"
    shell:
        run("claims")


rule figure:
    input:
        job=job("figure"),
        reads=reads("figure"),
        kept=kept("figure"),
    output:
        figure=report(
            f"{RESULTS}/figures/{{name}}",
            caption="../report/figure.rst",
            category=category,
            labels=figure_labels,
        ),
        record=f"{RESULTS}/figures/{{name}}{RECORD}",
    log:
        f"{RESULTS}/logs/figure/{{name}}.log",
    wildcard_constraints:
        name=names("figure"),
    conda:
        "../../envs/plot.yaml"
    params:
        caption=lambda wildcards: FIGURES[wildcards.name]["caption"],
    shell:
        run("figure")


rule chart:
    input:
        job=job("chart"),
        reads=reads("chart"),
        kept=kept("chart"),
    output:
        results("charts/{name}.json", "figures/{name}.svg"),
    log:
        f"{RESULTS}/logs/chart/{{name}}.log",
    wildcard_constraints:
        name=names("chart"),
    conda:
        "../../envs/plot.yaml"
    shell:
        run("chart")


rule scripts:
    input:
        job=job("scripts"),
    output:
        results("report/{name}.js"),
    log:
        f"{RESULTS}/logs/scripts/{{name}}.log",
    wildcard_constraints:
        name=names("scripts"),
    conda:
        "../../envs/plot.yaml"
    shell:
        run("scripts")


rule report:
    input:
        job=job("report"),
        reads=reads("report"),
        kept=kept("report"),
    output:
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "the whole report"},
        ),
        summary=f"{RESULTS}/report/summary.txt",
        record=[
            f"{RESULTS}/report/{name}{RECORD}"
            for name in ("index.html", "summary.txt")
        ],
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../envs/plot.yaml"
    shell:
        run("report")
