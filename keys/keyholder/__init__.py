"""The one small process that knows the unsealed root, and how others ask it.

`holder` is the state, `server` puts it behind a Unix socket, `client` asks; `memory` keeps the pages of the process out of
swap and core dumps. Nothing here touches the database: who may unseal, and with what, is decided by `keys.services.seals`.
"""
