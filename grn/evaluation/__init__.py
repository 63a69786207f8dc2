"""How good pictures are: reconstruction quality, Frechet distances."""
