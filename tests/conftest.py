"""What holds for every test."""

from hypothesis import settings

settings.register_profile("busy machine", deadline=None)  # no test is about speed
settings.load_profile("busy machine")
