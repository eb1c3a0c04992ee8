"""Uploads a file by tuspy, in two runs with checksums, and prints the upload's address.

    python upload.py ENDPOINT TOKEN FILE CHUNK_BYTES
"""

import sys
from pathlib import Path

from tusclient.client import TusClient

endpoint, token, file, chunk_bytes = sys.argv[1:]
client = TusClient(endpoint, headers={"Authorization": f"Bearer {token}"})
options = {"file_path": file, "chunk_size": int(chunk_bytes), "upload_checksum": True}

first = client.uploader(metadata={"filename": Path(file).name}, **options)
first.upload(stop_at=int(chunk_bytes) * 2)

# Another run knows nothing but the address, and asks how far the first has come.
second = client.uploader(url=first.url, **options)
if not 0 < second.offset < second.get_file_size():
    sys.exit(f"the first run came to byte {second.offset}")
second.upload()
print(second.url)
