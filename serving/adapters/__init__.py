"""Adapters in a gateway: the registry and its rules, the book that names are looked up in, and releases on replicas."""
