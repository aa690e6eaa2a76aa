"""Jobs, each a script from top to bottom: `train` reads a shop's files and publishes a version."""
