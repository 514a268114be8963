"""Training data: what a line may hold, what a file must be, what a model is taught by it, what is taken out of it."""
