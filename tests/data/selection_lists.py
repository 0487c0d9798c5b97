"""A few classes, and a list of clips of them to select from."""

# Music -> Guitar -> (Acoustic guitar, Steel guitar, slide guitar); Bell; Speech. Names with a comma, an abstract class.
CLASSES = {
    "/m/music": ("Music", ["/m/guitar", "/m/bell"]),
    "/m/guitar": ("Guitar", ["/m/acoustic", "/m/steel"]),
    "/m/acoustic": ("Acoustic guitar", []),
    "/m/steel": ("Steel guitar, slide guitar", ["/m/guitar"]),  # a circle, as a damaged file may have
    "/m/bell": ("Bell", []),
    "/m/speech": ("Speech", []),
}
ROWS = [  # an odd order of ids: the file's is kept
    ("-zzzzzzzzzz", ["/m/speech"]),
    ("bbbbbbbbbbb", ["/m/acoustic", "/m/guitar"]),
    ("aaaaaaaaaaa", ["/m/steel", "/m/speech"]),
    ("ccccccccccc", ["/m/bell"]),
    ("ddddddddddd", ["/m/guitar"]),
]
