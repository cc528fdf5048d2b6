"""What a job's name may be, and which files and which object belong to it. Pure text: nothing here touches a disk.

A job's name is a path relative to the root folder. A name is taken as it is or refused; it is never cleaned, since a
cleaned name is another picture's name.

Every picture has one object in the bucket, which its compressed form later replaces. For the original `NAME`:

    what                 file below root            key of the object
    the original         NAME                       NAME
    a thumbnail          OUTPUT/BASE+SUFFIX         BASE+SUFFIX
    compressed           COMPRESSED/KEY             KEY, the same object

`BASE` is `NAME` without a final `.jpg`, so `x.jpg` gives `x_fw100.jpg`. A JPEG whose name ends otherwise gives one that
does too: `x.JPG` gives `x_fw100.JPG`, and `x.jpeg` `x_fw100.jpeg`, since all three may be there. Any other name
stays whole and gets a `~`: `x.png` gives `x.png~_fw100.jpg`. Folders stay: `2024/x.jpg` gives `2024/x_fw100.jpg`.

No two pictures share a file or a key, because every step can be undone: the suffix of a thumbnail is known (no suffix
ends with another one, and no original may end with one), the `~` tells the forms of `BASE` apart (a `.jpg` whose base
itself ends with `~` counts as any other name), and the output folders hold nothing but results.
"""

import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import PurePosixPath

from image_workers.errors import ConfigError, Refused

MAX_NAME_BYTES = 255
"""Of a job's name in the protocol, and of a file's name in the usual file systems."""

SCRATCH_FOLDER = ".incoming"
"""Below root and below the bucket's folder: where files are written before they get their name."""

_WHOLE_NAME_MARK = "~"
_USUAL_ENDING = ".jpg"
_JPEG_ENDING = re.compile(r"\.jpe?g\Z", re.IGNORECASE)
_MORE_TYPES = {".webp": "image/webp", ".avif": "image/avif", ".php": "application/x-php"}
"""What Python's table, or its older ones, do not know."""
_TYPES = mimetypes.MimeTypes(filenames=())
"""Python's table, and not the machine's."""


def check_name(name: str, bytes_max: int = MAX_NAME_BYTES) -> None:
    """Raise `Refused` unless `name` is a relative path made of plain parts that stays below its root."""
    if not name:
        raise Refused("the name is empty; it must be the path of a file below root")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise Refused(f"the name {name!r} is not valid Unicode") from None
    if len(encoded) > bytes_max:
        room = ", its folders included, so that the names of its results fit too" if bytes_max < MAX_NAME_BYTES else ""
        raise Refused(
            f"the name {name!r} is {len(encoded)} bytes long; {bytes_max} are allowed{room} (a Chinese character has 3)"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise Refused(f"the name {name!r} contains a control character")
    if "\\" in name:
        raise Refused(f"the name {name!r} contains a backslash; folders are separated by /")
    if name.startswith("/"):
        raise Refused(f"the name {name!r} is absolute; it must be relative to root")
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise Refused(f"the name {name!r} has the part {part!r}; only names of folders and files are allowed")
        if part == SCRATCH_FOLDER:
            raise Refused(f"the name {name!r} uses {SCRATCH_FOLDER}, the folder of unfinished files")


def type_of_name(name: str) -> str | None:
    """The media type that a web server would tell from the name, None if it has none."""
    return _MORE_TYPES.get(PurePosixPath(name.lower()).suffix) or _TYPES.guess_type(name, strict=False)[0]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the results of a picture go.

    `thumbnail_folders` maps each suffix to the folder of its thumbnails, relative to root. Raises `ConfigError` if two
    pictures could get the same file or the same key.
    """

    compressed_folder: str
    thumbnail_folders: Mapping[str, str]

    def __post_init__(self) -> None:
        folders = [self.compressed_folder, *dict.fromkeys(self.thumbnail_folders.values())]
        for inner, outer in permutations(folders, 2):
            if _inside(inner, outer):
                raise ConfigError(
                    f"the output {inner!r} is inside the output {outer!r}; results would overwrite each other, "
                    "so give guetzli and the resizes separate folders"
                )
        for suffix, other in permutations(self.thumbnail_folders, 2):
            if any(one.endswith(two) for one in _spellings(suffix) for two in _spellings(other)):
                raise ConfigError(
                    f"the suffix {suffix!r} ends with the suffix {other!r}; "
                    "two pictures could get the same thumbnail, so choose another one"
                )

    def check_original(self, name: str) -> None:
        """Raise `Refused` unless `name` may be an uploaded picture, with room for the names of all its results."""
        check_name(name, MAX_NAME_BYTES - self._added_bytes(name))
        if folder := self._folder(name):
            raise Refused(f"the name {name!r} is inside {folder}, which holds results only")
        self.compressed(name)  # refuses the name of a thumbnail too
        for suffix in self.thumbnail_folders:
            self.compressed(self.thumbnail(name, suffix))

    def thumbnail(self, name: str, suffix: str) -> str:
        """The file of the thumbnail of the original `name` that has this suffix."""
        thumbnail = self._thumbnail(name, suffix)
        check_name(thumbnail)
        return thumbnail

    def original(self, thumbnail: str) -> tuple[str, str]:
        """The picture that `thumbnail` was made of, and its suffix: the inverse of `thumbnail()`."""
        key = self.key(thumbnail)
        suffix = self._suffix(key)
        if suffix is None or _inside(thumbnail, self.compressed_folder):
            raise Refused(f"the name {thumbnail!r} is not that of a thumbnail")
        base, ending = key.removesuffix(suffix), _USUAL_ENDING
        if suffix.endswith(_USUAL_ENDING) and (match := _JPEG_ENDING.search(key)):
            base, ending = key[: match.start()].removesuffix(suffix.removesuffix(_USUAL_ENDING)), match[0]
        name = base.removesuffix(_WHOLE_NAME_MARK) if base.endswith(_WHOLE_NAME_MARK) else base + ending
        if self._thumbnail(name, suffix) != thumbnail:
            raise Refused(f"no picture has {thumbnail!r} as its thumbnail")
        return name, suffix

    def picture(self, name: str) -> str:
        """The original that the file `name` is, or was made of. Raises `Refused` if no picture has such a file."""
        made = self.source(name) if _inside(name, self.compressed_folder) else name
        return made if self.is_original(made) else self.original(made)[0]

    def key(self, name: str) -> str:
        """The key of the object that the file `name` is put to. Raises `Refused` if no picture has such a file."""
        check_name(name)
        folder = self._folder(name)
        key = name.removeprefix(f"{folder}/") if folder else name
        suffix = self._suffix(key)
        if folder and (key == name or self._folder(key)):
            raise Refused(f"the name {name!r} is not the name of a result in {folder}")
        if folder != self.compressed_folder and folder != (self.thumbnail_folders[suffix] if suffix else None):
            raise Refused(
                f"the name {name!r} is inside {folder} but does not end as a thumbnail there"
                if folder
                else f"the name {name!r} ends with {suffix}, which marks a thumbnail"
            )
        return key

    def compressed(self, name: str) -> str:
        """The file of the compressed form of `name`, an original or a thumbnail."""
        compressed = f"{self.compressed_folder}/{self.key(name)}"
        if _inside(name, self.compressed_folder):
            raise Refused(f"the name {name!r} is inside {self.compressed_folder}: it is compressed already")
        check_name(compressed)
        return compressed

    def source(self, compressed: str) -> str:
        """The file that `compressed` was made from: the inverse of `compressed()`."""
        key = self.key(compressed)
        if not _inside(compressed, self.compressed_folder):
            raise Refused(f"the name {compressed!r} is not inside {self.compressed_folder}: it was not compressed")
        suffix = self._suffix(key)
        return f"{self.thumbnail_folders[suffix]}/{key}" if suffix else key

    def _thumbnail(self, name: str, suffix: str) -> str:
        match = _JPEG_ENDING.search(name)
        base, ending = (name[: match.start()], match[0]) if match else (name, "")
        if ending and suffix.endswith(_USUAL_ENDING):
            made = suffix.removesuffix(_USUAL_ENDING) + ending
        else:
            made = suffix
            if ending != _USUAL_ENDING:
                base = name
        if base == name or base.endswith(_WHOLE_NAME_MARK):
            base, made = name + _WHOLE_NAME_MARK, suffix
        return f"{self.thumbnail_folders[suffix]}/{base}{made}"

    def _added_bytes(self, name: str) -> int:
        """By how much the longest name of a result is longer."""
        results = [f"{self.compressed_folder}/{name}"]
        for suffix, folder in self.thumbnail_folders.items():
            thumbnail = self._thumbnail(name, suffix)
            results += [thumbnail, f"{self.compressed_folder}/{thumbnail.removeprefix(f'{folder}/')}"]
        return max(_bytes(result) for result in results) - _bytes(name)

    def is_original(self, name: str) -> bool:
        """Whether it is not the name of a result."""
        return self._folder(name) is None

    def _folder(self, name: str) -> str | None:
        folders = (self.compressed_folder, *self.thumbnail_folders.values())
        return next((folder for folder in folders if _inside(name, folder)), None)

    def _suffix(self, name: str) -> str | None:
        return next((suffix for suffix in self.thumbnail_folders if self._is_suffix(name, suffix)), None)

    @staticmethod
    def _is_suffix(name: str, suffix: str) -> bool:
        """Whether the name ends with the suffix, or with what `x.JPG` or `x.jpeg` makes of it."""
        if suffix.endswith(_USUAL_ENDING) and (match := _JPEG_ENDING.search(name)):
            return name[: match.start()].endswith(suffix.removesuffix(_USUAL_ENDING))
        return name.endswith(suffix)


def _bytes(name: str) -> int:
    return len(name.encode(errors="surrogatepass"))


def _spellings(suffix: str) -> tuple[str, ...]:
    """How a thumbnail of this suffix may end, in small letters."""
    stem = suffix.removesuffix(_USUAL_ENDING)
    return (suffix.lower(),) if stem == suffix else (f"{stem}.jpg".lower(), f"{stem}.jpeg".lower())


def _inside(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")
