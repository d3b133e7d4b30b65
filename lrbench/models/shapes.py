"""What kind of input a dataset has, or a refusal that names the model and the dataset's input shape."""


def image_shape(model: str, input_shape: tuple[int, ...], *, min_size: int = 1) -> tuple[int, int, int]:
    """Unpack `(channels, height, width)`.

    Args:
        model: name in the config, for the message.
        input_shape: of one example.
        min_size: least height and width in pixels.

    Raises:
        ValueError: the inputs are not images, or smaller than `min_size` on a side.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"model={model} needs images (channels, height, width), "
            f"got dataset inputs of shape {input_shape}; model=mlp and model=logistic take any shape"
        )
    channels, height, width = input_shape
    if min(height, width) < min_size:
        raise ValueError(
            f"model={model} needs images of at least {min_size}x{min_size} pixels, "
            f"got dataset inputs of shape {input_shape}; model=mlp takes any size"
        )
    return channels, height, width


def sequence_shape(model: str, input_shape: tuple[int, ...], *, min_length: int = 1) -> tuple[int, int]:
    """Unpack `(channels, length)`.

    Args:
        model: name in the config, for the message.
        input_shape: of one example.
        min_length: least number of positions.

    Raises:
        ValueError: the inputs are not sequences, or shorter than `min_length`.
    """
    if len(input_shape) != 2:
        raise ValueError(
            f"model={model} needs sequences (channels, length) such as dataset=mnist1d has, "
            f"got dataset inputs of shape {input_shape}; model=mlp and model=logistic take any shape"
        )
    channels, length = input_shape
    if length < min_length:
        raise ValueError(
            f"model={model} needs sequences of at least {min_length} positions, got dataset inputs of shape "
            f"{input_shape}; model=mlp takes any length"
        )
    return channels, length


def token_shape(model: str, input_shape: tuple[int, ...]) -> tuple[int]:
    """Unpack `(context,)`.

    Args:
        model: name in the config, for the message.
        input_shape: of one example.

    Raises:
        ValueError: the inputs are not rows of tokens.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"model={model} needs rows of tokens (context,) such as dataset=text has, or dataset=lines with "
            f"dataset.encoding=indices, got dataset inputs of shape {input_shape}"
        )
    return (input_shape[0],)
