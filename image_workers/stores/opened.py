"""Opens the store that a configuration names, and imports no more than that one needs."""

from image_workers.errors import ConfigError
from image_workers.stores import Store
from image_workers.stores.folder import FolderStore
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import DirectoryConfig, OssConfig, StoreConfig


def open_store(config: StoreConfig, key: str, connections: int, scratch: Scratch) -> Store:
    """The store; a folder or a bucket of OSS is made if there is none yet. `key` is that of the configuration.

    Raises `OSError` if a folder cannot be had, `ConfigError` if another store cannot, and `Unavailable` if it does not
    answer now.
    """
    if isinstance(config, DirectoryConfig):
        return FolderStore(config.directory / config.root_path)
    assert isinstance(config, OssConfig)
    try:
        from image_workers.stores.oss import OssStore
    except ModuleNotFoundError as error:
        raise ConfigError(f"{key}: {error.name} is not installed; pip install 'periodicd[oss]'") from error
    return OssStore(config, connections, scratch)
