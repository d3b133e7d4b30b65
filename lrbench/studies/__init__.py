"""The fair protocol: equal trials for every schedule, chosen on validation, measured on fresh seeds."""
