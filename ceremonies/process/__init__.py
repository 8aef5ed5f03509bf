"""The process in which ceremonies happen: the only place where an escrow key or a share is ever in the clear.

`session` is one ceremony's secrets and rules, without sockets or tables; `sealing` opens what a browser sealed and seals what
one person may see; `server` puts sessions behind a Unix socket; `client` asks. Ids, public keys, commitments and ciphertexts
cross the socket; words do only on their way to the one person who is to see them.
"""
