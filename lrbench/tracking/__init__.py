"""The record of a run: written locally by the training, copied into MLflow beside it, read back as one frame.

`record` (the training's side) knows no MLflow; `sender` is its handle on `sender_process`, which copies; only
`client`, `bulk`, `bulk_rows` and `read_api` import mlflow.
"""
