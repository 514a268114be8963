"""Are answers right? Questions with an answer key, the calls that ask them, and what is counted of the answers."""
