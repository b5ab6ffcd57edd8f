"""How the embedded checkpoints were made; nothing else in the package leans on it."""
