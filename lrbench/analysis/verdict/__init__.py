"""From the numbers of an analysis to its sentences."""
