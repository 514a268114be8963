"""Training data: what a line may hold, what a file must be, and what a model is taught by it."""
