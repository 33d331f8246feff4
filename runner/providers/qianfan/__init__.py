"""Baidu Qianfan batch inference, with files in BOS."""
