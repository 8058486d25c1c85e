"""Metrics, service level objectives, alerts and drift, of any service that speaks HTTP and Prometheus."""
