"""Results as one tidy frame: its schema, and the files of lrbench and of others that hold it."""
