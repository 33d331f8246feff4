"""One small script for each client.  They are run as files, some in environments of their own."""
