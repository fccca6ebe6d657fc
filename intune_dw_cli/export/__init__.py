"""The engine: plan slices, fetch them with bounded workers, check them, commit their files."""
