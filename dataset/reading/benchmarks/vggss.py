"""VGG-Sound Source, in the layout that LVS and EZ-VSL read.

ROOT/frames/ID.jpg
    /audio/ID.wav             of data.seconds or more; its middle belongs to the frame
    /vggss.json               from github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way, there and elsewhere in
    /metadata/vggss.json      metadata/
"""

from pathlib import Path
from typing import TypedDict, TypeGuard

from dataset.reading.annotations import are_sides, is_printable_text, is_valid_id, load_json
from dataset.reading.benchmarks.benchmark import Choose, Classes, Row, benchmark_folder, chosen_clips
from dataset.reading.benchmarks.boxes import BoxBenchmark
from dataset.reading.errors import OnError
from dataset.reading.names import find_file, normalize_name
from utils.errors import UserError

_Entry = TypedDict("_Entry", {"file": str, "class": str, "bbox": list[list[float]]}, total=False)  # of vggss.json


class VGGSS(BoxBenchmark):
    """VGG-Sound Source's test clips (Chen et al., CVPR 2021): boxes of the sounding objects.

    The published file has 5,158 clips, two of which have no valid box: see `BoxBenchmark`.

    Args:
        root: folder in the layout above.
        on_error: see `Benchmark`.
        choose: the clips to measure on; None: all.

    Raises:
        UserError: see `Benchmark`; vggss.json is missing or malformed.
    """

    def __init__(self, root: Path | str, on_error: OnError = "stop", choose: Choose | None = None) -> None:
        root = benchmark_folder(root, "frames/ID.jpg, audio/ID.wav and annotations")
        paths = (root / "vggss.json", root / "metadata" / "vggss.json")
        file = next((path for path in paths if path.exists()), paths[0])
        form = '[{"file": id, "bbox": [[x0, y0, x1, y1] in 0..1, ...]}, ...], where frames/id.jpg is a file'
        content = load_json(file, form)
        if not isinstance(content, list):
            raise UserError(f"{file} is not a list: it must hold {form}")
        self._annotated: dict[str, list[list[float]]] = {}
        classes: Classes = {}
        for k, entry in enumerate(content):
            if not _is_entry(entry):
                raise UserError(f"{file} has an invalid format at entry {k}: it must hold {form}")
            clip = normalize_name(entry["file"])
            self._annotated.setdefault(clip, []).extend(entry["bbox"])
            own = (entry["class"],) if "class" in entry else ()
            classes[clip] = tuple(dict.fromkeys((*classes.get(clip, ()), *own)))
        rows = {
            clip: Row(
                find_file(root / "frames", f"{clip}.jpg"), find_file(root / "audio", f"{clip}.wav"), file, clip,
                classes[clip],
            )
            for clip in chosen_clips(classes, choose)
        }  # fmt: skip
        super().__init__(root, rows, on_error)

    def _read_boxes(self, clip: str) -> list[list[float]]:
        return self._annotated[clip]


def _is_entry(entry: object) -> TypeGuard[_Entry]:
    return (
        isinstance(entry, dict)
        and is_valid_id(entry.get("file"))
        and is_printable_text(entry.get("class", ""))
        and isinstance(entry.get("bbox"), list)
        and all(map(are_sides, entry["bbox"]))
    )
