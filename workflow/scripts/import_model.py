"""Run a job of the stage `import_model`: import_model.py JOB.json [--threads N]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip.jobs import ready

if __name__ == "__main__":
    ready.main("import_model")
