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


rule all:
    default_target: True
    input:
        f"{RESULTS}/report/index.html",


onstart:
    signals.handle_in_a_thread(signal.SIGTERM)
    hold_study()
    if sys.platform == "linux" and not CONDA:
        ready.start()
    if warning := why.would_drop(Path(RESULTS), LEDGER):
        print(warning, file=sys.stderr)


onsuccess:
    if (summary := Path(RESULTS) / "report" / "summary.txt").exists():
        print(summary.read_text(encoding="utf-8"))
