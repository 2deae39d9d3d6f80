"""Parameter counts from the model classes of transformers, made without weights."""
