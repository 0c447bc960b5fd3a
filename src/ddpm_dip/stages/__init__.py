"""Stages: each a function of one job, `run(job)`, that reads files and writes files."""
