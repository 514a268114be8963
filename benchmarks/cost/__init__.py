"""What a request costs in the gateway, counted in figures that do not move with the machine's load.

The gateway runs in this process. Its engine and its client run in another one, so that their costs count nowhere.
"""
