"""Files of weights: found on disk or on the Hub, read safely, assigned strictly."""
