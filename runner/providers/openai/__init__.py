"""Files and batches on OpenAI's wire, and the dialects of it."""
