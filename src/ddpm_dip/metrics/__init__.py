"""Distances between sets of images: features (classifier, inception), and the Frechet distance of these."""
