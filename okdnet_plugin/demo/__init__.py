"""The page on which dehazing is tried out in a browser."""
