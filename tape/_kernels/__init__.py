"""Loops over arrays. Nothing here has ever heard of a tensor."""
