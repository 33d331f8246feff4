"""How fast single questions are asked, beside bare clients and other tools: ``python -m benchmarks.dispatch``."""
