"""Readers of what the field has on disk."""
