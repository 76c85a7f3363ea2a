"""Using a trained network: weights, back ends, images and videos of any size, export."""
