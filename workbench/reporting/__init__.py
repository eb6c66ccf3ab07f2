"""Measured figures for people: tables, charts, a page, and the papers' own figures beside ours."""
