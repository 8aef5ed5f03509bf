"""Keys in a hardware security module, over PKCS#11; nothing is imported here, for the child process stays small."""
