"""Wanqing batch tasks, and the simulator, which speaks their wire."""
