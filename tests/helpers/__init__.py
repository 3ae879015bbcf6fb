"""What several tests use: frames, files and commands by name."""
