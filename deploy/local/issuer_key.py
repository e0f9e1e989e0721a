"""The private key of local mode's own issuer."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relaykit.local.data_directory import DataDirectory

KEY_BITS = 2048


def issuer_key(directory: DataDirectory) -> Path:
    """The PEM file of an RSA key, made at the first start and readable by its owner only."""
    path = directory.path / "issuer.pem"
    if path.exists():
        return path
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return directory.file("issuer.pem", pem.decode())
