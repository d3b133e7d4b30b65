"""Trainers of other libraries as training loops for `lrbench.compare`: they take our rates and log in our names."""
