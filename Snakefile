from snakemake.utils import min_version

min_version("9.0")


configfile: workflow.source_path("config.yaml")


report: "workflow/report/front.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/timing.smk"
include: "workflow/rules/report.smk"


# On a cluster these run where Snakemake does: they are short, or need the network.
localrules:
    prepare_data,
    import_model,
    fetch_inception,
    floors,
    starts,
    tables,
    claims,
    figure,
    chart,
    scripts,
    report,


rule all:
    default_target: True
    input:
        f"{RESULTS}/report/index.html",


onstart:
    if not ELSEWHERE:
        # how many jobs may begin in a second: with a limit, Snakemake looks at all waiting jobs again a second after each
        # look, once more for each job that ended, and so takes up to half of a core
        workflow.scheduler.job_rate_limiter = None
    signals.handle_in_a_thread(signal.SIGTERM)
    hold_study()
    if sys.platform == "linux" and not CONDA:
        ready.start(plan.to_preload(STUDY))
    for warning in (
        *claims.not_trained_for(STUDY.claims),
        why.would_drop(Path(RESULTS), LEDGER),
    ):
        if warning:
            print(warning, file=sys.stderr)


onsuccess:
    if (summary := Path(RESULTS) / "report" / "summary.txt").exists():
        print(summary.read_text(encoding="utf-8"))
