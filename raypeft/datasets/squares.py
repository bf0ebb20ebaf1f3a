"""Make the square of pixels that a network takes of an image of any shape."""

from PIL import Image

from raypeft.core.resize import Resize

LONGEST = 16  # times as long as wide; of a longer image the ends are cut off before it is resized


def resized(image: Image.Image, resize: Resize) -> Image.Image:
    """Return an RGB image as a square, antialiased unless the interpolation is "nearest".

    "stretch" resizes both sides to `image_size`, whatever the proportions. "pad" resizes the longer side to
    `image_size` and centres the result on black, which is what radiographs and ultrasound images have around
    them, and what torchvision and MONAI pad with (timm pads with the mean colour). "crop" resizes the shorter
    side to `image_size` and keeps the centre, as Resize and CenterCrop do in torchvision, and in timm with
    crop_pct=1: no margin is cut off the shorter side. An image that is square gives the same pixels by each.
    """
    side, resample = resize.image_size, Image.Resampling[resize.interpolation.upper()]
    if resize.fit == "pad":
        return _padded(image, side, resample)
    if resize.fit == "crop":
        return _cropped(image, side, resample)
    return image.resize((side, side), resample)


def _padded(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    longest = max(image.size)
    # Of 1000 x 10 pixels at a side of 32, one row is left, not none
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    square = Image.new(image.mode, (side, side))  # black
    square.paste(image.resize((width, height), resample), ((side - width) // 2, (side - height) // 2))
    return square


def _cropped(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    image = _without_ends(image)
    shortest = min(image.size)
    width, height = (int(side * length / shortest) for length in image.size)  # rounded down, as torchvision
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.resize((width, height), resample).crop((left, top, left + side, top + side))


def _without_ends(image: Image.Image) -> Image.Image:
    """Return the middle of a very long image, with the same centre.

    Resized as a whole, an image of one row would be millions of pixels wide.
    """
    most = LONGEST * min(image.size)
    if max(image.size) <= most:
        return image
    left, top = (max(0, (length - most) // 2) for length in image.size)
    return image.crop((left, top, image.width - left, image.height - top))
