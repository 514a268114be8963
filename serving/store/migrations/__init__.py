"""One file per schema change, oldest first; applied by `serving/store/migration.py`. Forward only."""
