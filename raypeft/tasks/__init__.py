"""What a loss and a score mean."""
