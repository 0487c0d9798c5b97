"""The settings of a run that reading depends on, as a protocol: dataset/ doesn't import configs/."""

from typing import Protocol

from dataset.reading.errors import OnError


class DataSettings(Protocol):
    """The part of `configs.schema.Data` that readers use."""

    @property
    def root(self) -> str:
        """Folder or URL of the dataset."""
        ...

    @property
    def on_error(self) -> OnError:
        """What to do with a clip that can't be read."""
        ...

    @property
    def resize_size(self) -> int:
        """Height and width of the frames, pixels."""
        ...

    @property
    def frame_step(self) -> float:
        """Frames are sampled at multiples of this time, seconds."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of the sounds, Hz."""
        ...

    @property
    def seconds(self) -> float:
        """Length of the sound that belongs to a frame."""
        ...

    @property
    def frames(self) -> int:
        """Number of consecutive frames in a sample."""
        ...

    @property
    def flow(self) -> str:
        """Method of optical flow, or "none"."""
        ...

    @property
    def flow_fields(self) -> int:
        """Number of flow fields in a sample."""
        ...

    @property
    def flow_dir(self) -> str:
        """Folder of the flow cache; empty for `root`."""
        ...
