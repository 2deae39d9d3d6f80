"""A vision tower, as far as a pass over its largest image or video goes.

`plimsoll.models.families.towers` reads it from a config.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision tower, as far as a pass over its largest item goes.

    kind: how its layers are run (``qwen2``, ``qwen2_5``, ``qwen3``, ``siglip``, ``clip``,
        ``pixtral``, ``llama4``, ``intern``, ``moonvit``, ``gemma4``).
    hidden, intermediate: elements of a patch in its layers and in their feed-forwards.
    patch: elements of a patch as the processor hands it over.
    width: elements of a token of its output, with what deepstack adds.
    levels: outputs that deepstack adds to the layers of the text model; 0 for most.
    tokens, patches: of the largest image. marks: tokens around an image that hold none of it.
    edge: pixels on an edge of the square that makes one token; 0: images have one size or tiles.
    merge: patches that make one token. pixels: most pixels of an image; 0 if `edge` is known.
    video_pixels: most pixels of all frames of a video; 0: each two frames are as an image.
    frame_tokens, frame_patches: of one frame, if a video is run by frames; 0: it is not.
    frame_marks: tokens around a frame. frames: most of a video; 0: as many as the context holds.
    cut: tensor parallelism cuts its layers. alone: images and frames are run one after another.
    """

    kind: str
    hidden: int
    intermediate: int
    patch: int
    width: int
    tokens: int
    patches: int
    levels: int = 0
    marks: int = 0
    edge: int = 0
    merge: int = 1
    pixels: int = 0
    video_pixels: int = 0
    frame_tokens: int = 0
    frame_patches: int = 0
    frame_marks: int = 0
    frames: int = 0
    cut: bool = True
    alone: bool = False

    @property
    def videos(self) -> bool:
        """Whether it takes videos beside images."""
        return bool(self.frame_tokens or self.edge)
