"""Quantization: dynamic, static, and with training."""
