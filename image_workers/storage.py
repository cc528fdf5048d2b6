"""Where pictures are published: a bucket is a store of whole objects under keys. The workers know only `Bucket`.

A bucket decides nothing: which file goes to which key, and when, is the functions' business. There are two kinds: a
folder, which a web server can serve, and a bucket of Aliyun OSS, whose packages are needed only if one is configured.
"""

from pathlib import Path
from typing import BinaryIO, Protocol

from image_workers.config import Config, DirectoryConfig
from image_workers.errors import ConfigError
from image_workers.files import Root, copy
from image_workers.progress import UNWATCHED, Moved


class Bucket(Protocol):
    """A store of objects; used from several threads at once."""

    def put(self, key: str, content: BinaryIO, content_type: str, moved: Moved = UNWATCHED.moved) -> None:
        """Store the rest of `content` under `key`, in place of what was there.

        A reader of the key sees the old object or the new one, never a part; when this returns, the new one is stored.
        `moved` is told of the bytes as they go. Raises `OSError` if that failed and may be tried again, `Refused` if
        `key` will never do.
        """


class DirectoryBucket:
    """Objects as files below a folder. The content type is not kept: web servers tell it from the name."""

    def __init__(self, directory: Path, root_path: str) -> None:
        self._root = Root(directory / root_path)

    def put(self, key: str, content: BinaryIO, content_type: str, moved: Moved = UNWATCHED.moved) -> None:
        with self._root.replacing(key, moved) as file:
            copy(content, file, moved)


def open_bucket(config: Config) -> Bucket:
    """The bucket that is configured; made if there is none yet.

    Raises `OSError` if the folder cannot be had, `ConfigError` if the bucket of OSS cannot, and
    `Unavailable` if it does not answer now.
    """
    if isinstance(config.bucket, DirectoryConfig):
        return DirectoryBucket(config.bucket.directory, config.bucket.root_path)
    try:
        from image_workers.oss import OssBucket
    except ModuleNotFoundError as error:
        raise ConfigError(f"bucket: {error.name} is not installed; pip install 'periodicd[oss]'") from error
    return OssBucket(config.bucket, connections=config.thread)
