"""What fine-tuning costs a running stack, and how soon its results are served; see `__main__.py`."""
