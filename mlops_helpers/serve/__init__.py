"""Artifact -> answers, metrics, durable log: the filter, the gateway, the blog and their readers."""
