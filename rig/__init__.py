"""What benchmarks and tests stand on: the real daemon in a process of its own, and the machine that it runs on.

It knows neither of them, and nothing of it is installed.
"""
