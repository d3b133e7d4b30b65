"""What speaks against a comparison: findings about its runs, rates and curves."""
