"""The process in which ceremonies happen: the only place where an escrow key or a share is ever in the clear.

`doorkeeper` listens, and gives each ceremony a process of its own; `server` is that process; `session` is one ceremony's
secrets and rules, without sockets or tables; `sealing` opens what a browser sealed and seals what one person may see;
`client` asks. Ids, public keys, commitments and ciphertexts cross the socket; words never do but sealed to the one person who
is to see them.
"""
