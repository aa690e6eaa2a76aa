"""A hybrid e-commerce recommender that trains and serves on Ray."""
