"""Fine-tuning as the gateway sees it: files, jobs, and who moves them."""
