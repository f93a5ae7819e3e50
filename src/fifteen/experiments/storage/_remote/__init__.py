"""Directories in object stores, by obstore; imported only for an address."""

from ._path import RemotePath as RemotePath
