"""Endpoints without batches: the task is ours, asked one question at a time."""
