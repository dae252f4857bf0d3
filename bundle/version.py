"""The one place the version is written; configs/metadata.json is tested against it."""

__version__ = "0.1.0"
