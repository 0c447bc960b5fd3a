"""Archives of studies: what is damaged, or would be unpacked elsewhere, is one message."""

import hashlib
import itertools
import zipfile

import pytest

from ddpm_dip.jobs import archive, ledger
from ddpm_dip.jobs.archive import MANIFEST
from ddpm_dip.jobs.errors import UserError


def test_each_damaged_byte_of_an_archive_is_one_message(tmp_path):
    (tmp_path / "study/tables").mkdir(parents=True)
    (tmp_path / "study/tables/a.csv").write_text("a,b\n" + "1,2\n" * 40)
    planned = ledger.Planned("tables", "a", {}, {}, {"a": "tables/a.csv"})
    archive.pack(tmp_path / "study", [planned], tmp_path / "study.zip")
    content = (tmp_path / "study.zip").read_bytes()
    assert archive.verify(tmp_path / "study.zip") == 1
    named = 0
    for place, change in itertools.product(range(len(content)), (0x01, 0xFF)):
        (tmp_path / "bad.zip").write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
        try:
            assert archive.verify(tmp_path / "bad.zip") == 1  # a time, or a field that nobody reads
        except UserError as error:
            named += str(error).startswith(f"{tmp_path / 'bad.zip'}: ")
    assert named > len(content)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as evil:
        evil.writestr("../../evil", "x")
        evil.writestr(MANIFEST, f"{hashlib.sha256(b'x').hexdigest()}  ../../evil\n")
    with pytest.raises(UserError, match=r"\.\./\.\./evil would be unpacked outside of its folder"):
        archive.verify(tmp_path / "evil.zip")
