"""The evidence: load and quality measured against a running stack over HTTP. Serves nothing."""
