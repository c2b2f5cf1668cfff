"""The writer of each kind of container that can be written."""

from __future__ import annotations

from typing import Any

from unveil.images.readers.arrow import ArrowSource
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.folder import FolderSource
from unveil.images.readers.hdf5 import HDF5Source
from unveil.images.readers.lmdb import LMDBSource
from unveil.images.readers.parquet import ParquetSource
from unveil.images.readers.recordio import RecordIOSource
from unveil.images.readers.tar import TarSource
from unveil.images.readers.tfrecord import TFRecordSource
from unveil.images.readers.zip import ZipSource
from unveil.images.source import Source
from unveil.images.writers.arrow import write_arrow
from unveil.images.writers.base import Writer
from unveil.images.writers.embeddings import write_embeddings
from unveil.images.writers.file_list import write_list
from unveil.images.writers.folder import write_folder
from unveil.images.writers.hdf5 import write_hdf5
from unveil.images.writers.lmdb import write_lmdb
from unveil.images.writers.parquet import write_parquet
from unveil.images.writers.recordio import write_recordio
from unveil.images.writers.tar import write_tar
from unveil.images.writers.tfrecord import write_tfrecord
from unveil.images.writers.zip import write_zip

WRITERS: dict[type[Source], Writer[Any]] = {
    FolderSource: write_folder,
    ListSource: write_list,
    ZipSource: write_zip,
    TarSource: write_tar,
    RecordIOSource: write_recordio,
    TFRecordSource: write_tfrecord,
    ParquetSource: write_parquet,
    ArrowSource: write_arrow,
    LMDBSource: write_lmdb,
    HDF5Source: write_hdf5,
    EmbeddingSource: write_embeddings,
}
