"""The tab Batch: many images and phrases."""
