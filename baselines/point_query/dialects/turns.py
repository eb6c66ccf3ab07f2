"""Turns of a dialogue, as chat templates of transformers take them."""


def user_turn(text: str, *, with_image: bool = False) -> dict[str, object]:
    """Return a user's message for a chat template; the image stands before the text."""
    image: list[dict[str, str]] = [{"type": "image"}] if with_image else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}


def assistant_turn(text: str) -> dict[str, object]:
    """Return the model's message for a chat template."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
