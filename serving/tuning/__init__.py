"""Fine-tuning on a stack: files, jobs, and who moves a job from its files to a served adapter. Imports nothing."""
