"""Benchmarks: the real daemon, a real file, clients and workers of our own library in processes of their own."""
