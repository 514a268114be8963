"""Offline floor: from data to adapter. Empty until fine-tuning moves in; here so that the floors are all on the map."""
