"""Using a trained network: weights, back ends, pictures and videos of any size, export."""
