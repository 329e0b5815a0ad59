"""What is not known of a chip: draws from its ranges, and what measurements leave of them."""
