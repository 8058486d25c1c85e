"""Images, runtimes and hosts: put together by ``benchmarks/deploy.py``."""
