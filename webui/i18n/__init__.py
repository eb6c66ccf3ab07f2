"""The languages of the page: catalogues, translation, and a page a language."""
