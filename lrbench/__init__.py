"""Benchmark learning-rate schedules fairly: train, tune, repeat over seeds, and say how sure."""

__version__ = "0.1.0"
