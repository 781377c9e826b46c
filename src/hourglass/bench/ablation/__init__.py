"""Sets of designs trained under one budget, and the report that compares them."""
