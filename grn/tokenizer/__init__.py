"""The tokenizer: a 3D causal autoencoder whose features are quantized by HBQ (section 3.1)."""
