"""PCK, PCP, OKS and average precision, and the protocols that name them."""
