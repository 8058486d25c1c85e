"""Speed, kills, fuzz and outage of the services: put together by ``benchmarks/serve.py``, a share of them by tests."""
