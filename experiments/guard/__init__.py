"""What keeps predictions and pages of the manual as the code has them."""
