"""Benchmark learning-rate schedules fairly: train, tune, repeat over seeds, and say how sure."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # who imports us decides what is shown
