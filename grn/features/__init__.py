"""Networks that measure pictures: pixels -> one vector a picture, or a distance of two."""
