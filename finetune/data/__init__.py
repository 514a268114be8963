"""Training data: what a line may hold, what a file must be, what a model is taught by it, and what is taken out."""
