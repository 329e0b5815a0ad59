"""The command line: parsing and printing. Nothing imports it."""
