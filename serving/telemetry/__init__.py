"""What happened: the record of each call, metrics and the log."""
