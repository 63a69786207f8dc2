"""Names of the files in a model folder."""

import re

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # in place of WEIGHTS where they are in shards
CARD = "README.md"
VOCABULARY = "tokenizer.json"  # of a text encoder: pieces of text and their numbers
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
