"""Jobs: atomic files, code digests, records, locks, errors, signals. Knows no science."""
