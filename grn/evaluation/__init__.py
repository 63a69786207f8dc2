"""How good pictures are: reconstruction quality, Frechet distances, nearest neighbours."""
