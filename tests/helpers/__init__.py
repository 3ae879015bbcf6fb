"""Frames, files, servers and commands that several tests use."""
