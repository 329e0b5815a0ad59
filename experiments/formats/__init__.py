"""`hardwire formats`: what each number format does to the output."""
