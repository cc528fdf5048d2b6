"""Opens the store that a configuration names, and imports no more than that one needs."""

from image_workers.errors import ConfigError
from image_workers.stores import Store
from image_workers.stores.folder import FolderStore
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import DirectoryConfig, OssConfig, StoreConfig


def open_store(config: StoreConfig, key: str, connections: int, scratch: Scratch, send_s: float) -> Store:
    """The store; a folder or a bucket of OSS is made if there is none yet. `key` is that of the configuration.

    `send_s` is how long the content of one file may take.

    Raises `OSError` if a folder cannot be had, `ConfigError` if another store cannot, and `Unavailable` if it does not
    answer now.
    """
    if isinstance(config, DirectoryConfig):
        return FolderStore(config.directory / config.root_path)
    try:
        if isinstance(config, OssConfig):
            from image_workers.stores.oss import OssStore

            return OssStore(config, connections, scratch)
        from image_workers.stores.remote import RemoteStore

        return RemoteStore(config, key, scratch, send_s)
    except ModuleNotFoundError as error:
        extra = "oss" if isinstance(config, OssConfig) else "opendal"
        raise ConfigError(f"{key}: {error.name} is not installed; pip install 'periodicd[{extra}]'") from error
