"""A request that is not answered, and why."""


class RequestError(Exception):
    """A request that cannot be put to an endpoint.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
