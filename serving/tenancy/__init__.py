"""Who calls: keys, principals and their limits."""
