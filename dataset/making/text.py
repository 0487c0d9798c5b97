"""Make text from files, file names and the network safe to print and to write."""


def printable(text: str) -> str:
    """Replace each character of `text` that isn't printable, line ends too, by a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def escape_surrogates(text: str) -> str:
    """Escape as \\x.. what UTF-8 can't encode in `text`, as in file names of other encodings."""
    return text.encode("utf-8", "backslashreplace").decode()


def count_text(number: int, noun: str) -> str:
    """Write a number with its noun: "1 clip", "1,200 clips".

    Args:
        number: 0 or more.
        noun: in the singular; its plural ends with an s.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
